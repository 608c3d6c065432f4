#include "preload/sandbox.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload/base/fault.h"

namespace poireau {
namespace {

/// The state a child sees that has installed a filter which allows everything.
int state_under_a_filter() {
  const pid_t child = fork();
  if (child == 0) {
    sock_filter allow{BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    sock_fprog program{1, &allow};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
      _exit(99);
    sandbox::leave(sandbox::State::open);
    sandbox::look();
    _exit(static_cast<int>(sandbox::state()));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST(Sandbox, SeesAFilterThatWasThereBefore) {
  EXPECT_EQ(state_under_a_filter(), static_cast<int>(sandbox::State::inherited));
}

TEST(Sandbox, SeesNoneWhereThereIsNoneWhateverFails) {
  const bool in_container = prctl(PR_GET_SECCOMP) == SECCOMP_MODE_FILTER;
  const auto here = in_container ? sandbox::State::inherited : sandbox::State::open;
  sandbox::look();
  EXPECT_EQ(sandbox::state(), here);
  EXPECT_GE(fault::for_each_fault([] { sandbox::look(); }), 3);
  EXPECT_EQ(sandbox::state(), here);
}

TEST(Sandbox, GoesBackWhenTheFilterWasRefused) {
  const auto before = sandbox::enter(sandbox::State::filtered);
  EXPECT_EQ(sandbox::state(), sandbox::State::filtered);
  sandbox::leave(before);
  EXPECT_EQ(sandbox::state(), before);
}

}  // namespace
}  // namespace poireau
