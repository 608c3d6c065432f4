#include "tracked_alloc/headroom.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <thread>
#include <vector>

#include "preload/base/fault.h"

namespace poireau::tracked_alloc {
namespace {

constexpr size_t kGiB = size_t{1} << 30;

/// The status of a child that runs `body` under a limit of `bytes` above what is mapped now.
template <typename Body>
int under_limit(int resource, size_t bytes, Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    size_t pages[6] = {};
    std::ifstream statm("/proc/self/statm");
    for (size_t& column : pages) statm >> column;
    const rlim_t used = (resource == RLIMIT_AS ? pages[0] : pages[5]) * 4096;
    const rlimit limit{used + bytes, RLIM_INFINITY};
    if (setrlimit(resource, &limit) != 0) _exit(99);
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

bool without_overcommit() {
  int policy = 0;
  std::ifstream("/proc/sys/vm/overcommit_memory") >> policy;
  return policy == 2;
}

TEST(Headroom, IsA64thOfWhatTheLimitsLeave) {
  for (const int resource : {RLIMIT_AS, RLIMIT_DATA})
    EXPECT_EQ(under_limit(resource, 64 * kGiB,
                          [] {
                            headroom::learn(true);
                            // What the child has mapped since is less than a MiB.
                            return headroom::limit() <= kGiB && headroom::limit() > kGiB - (1 << 20) / 64 ? 0 : 1;
                          }),
              without_overcommit() ? 1 : 0)
        << resource;
}

TEST(Headroom, IsNothingWhereTheLimitIsPassedAlready) {
  EXPECT_EQ(under_limit(RLIMIT_AS, size_t{0} - (1 << 20),
                        [] {
                          headroom::learn(true);
                          return headroom::limit() == 0 && !headroom::take(1) && headroom::take(0) ? 0 : 1;
                        }),
            0);
}

TEST(Headroom, IsUnlimitedWithoutLimits) {
  if (without_overcommit()) GTEST_SKIP() << "this machine does not overcommit";
  headroom::learn(true);
  EXPECT_EQ(headroom::limit(), SIZE_MAX);
  ASSERT_TRUE(headroom::take(SIZE_MAX / 2));
  ASSERT_TRUE(headroom::take(SIZE_MAX / 2 + 1));
  EXPECT_FALSE(headroom::take(1));
  headroom::give_back(SIZE_MAX);
  EXPECT_EQ(headroom::taken(), 0u);
}

TEST(Headroom, AsksTheKernelNothingBehindAFilterAndIsKnownWhateverFails) {
  EXPECT_EQ(fault::for_each_fault([] { headroom::learn(false); }), 0);
  EXPECT_EQ(headroom::limit(), SIZE_MAX);
  EXPECT_EQ(under_limit(RLIMIT_AS, 64 * kGiB,
                        [] {
                          bool sane = true;
                          const int calls = fault::for_each_fault([&] {
                            headroom::learn(true);
                            // A limit that can't be read is none; if it is the use, all of the limit seems free.
                            sane = sane && headroom::limit() >= kGiB - (1 << 20);
                          });
                          return sane && calls >= 5 ? 0 : 1;
                        }),
            without_overcommit() ? 1 : 0);
}

TEST(Headroom, IsNeverOverdrawnByThreads) {
  EXPECT_EQ(under_limit(RLIMIT_AS, 64 * kGiB,
                        [] {
                          headroom::learn(true);
                          const size_t piece = headroom::limit() / 3 - 1;
                          std::vector<std::thread> threads;
                          std::atomic<bool> sane{true};
                          for (int t = 0; t < 4; ++t)
                            threads.emplace_back([&] {
                              for (int i = 0; i < 20'000; ++i) {
                                if (!headroom::take(piece)) continue;
                                if (headroom::taken() > 3 * piece) sane = false;
                                headroom::give_back(piece);
                              }
                            });
                          for (auto& thread : threads) thread.join();
                          return sane && headroom::taken() == 0 ? 0 : 1;
                        }),
            0);
}

}  // namespace
}  // namespace poireau::tracked_alloc
