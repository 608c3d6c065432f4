#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"

// Functions of libc that change what the kernel lets us do.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace poireau;

namespace {

/// The kind of sandbox that a seccomp call with this operation enters, if any.
bool enters(unsigned long operation, unsigned long strict, sandbox::State& out) noexcept {
  out = operation == strict ? sandbox::State::strict : sandbox::State::filtered;
  return operation <= 1;
}

}  // namespace

// libc declares these two with an ellipsis; in registers that is the same.
HOOK_EXPORT int watched_prctl(int, unsigned long, unsigned long, unsigned long, unsigned long) __asm__("prctl");
HOOK_EXPORT long watched_syscall(long, long, long, long, long, long, long) __asm__("syscall");

HOOK_EXPORT int watched_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  lifecycle::be_resolved();
  sandbox::State next;
  if (option != PR_SET_SECCOMP || !enters(a - SECCOMP_MODE_STRICT, 0, next)) return real.prctl(option, a, b, c, d);
  const sandbox::State before = sandbox::enter(next);
  const int result = real.prctl(option, a, b, c, d);
  if (result < 0) sandbox::leave(before);  // above 0: a listener's descriptor, or a thread that could not follow
  return result;
}

HOOK_EXPORT long watched_syscall(long number, long a, long b, long c, long d, long e, long f) {
  lifecycle::be_resolved();
  sandbox::State next;
  const bool by_prctl = number == SYS_prctl && a == PR_SET_SECCOMP;
  const auto operation = static_cast<unsigned long>(by_prctl ? b - SECCOMP_MODE_STRICT : a);
  if ((number != SYS_seccomp && !by_prctl) || !enters(operation, SECCOMP_SET_MODE_STRICT, next))
    return real.syscall(number, a, b, c, d, e, f);
  const sandbox::State before = sandbox::enter(next);
  const long result = real.syscall(number, a, b, c, d, e, f);
  if (result < 0) sandbox::leave(before);  // above 0: a listener's descriptor, or a thread that could not follow
  return result;
}
