#include <dlfcn.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "config/options.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"
#include "preload/stats.h"

// Functions of libc that change what we may do, or what may be done to us. They look, then jump on: the loader takes
// RUNPATH and the namespace from the return address, which must stay the program's.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace poireau;

namespace {

/// A constructor may call these before anybody has allocated.
void be_resolved() noexcept {
  if (real.dlopen == nullptr) [[unlikely]] lifecycle::start();
}

/// The kind of sandbox that a seccomp call with this operation enters, if any.
bool enters(unsigned long operation, unsigned long strict, sandbox::State& out) noexcept {
  out = operation == strict ? sandbox::State::strict : sandbox::State::filtered;
  return operation <= 1;
}

}  // namespace

HOOK_EXPORT void* dlopen(const char* path, int mode) {
  be_resolved();
  // A library bound deeply frees with libc's free what others got from ours (the same breaks every preloaded
  // allocator).
  if ((mode & RTLD_DEEPBIND) != 0 && options.deepbind.load(std::memory_order_relaxed) == Deepbind::strip) {
    stats.deepbinds.fetch_add(1, std::memory_order_relaxed);
    mode &= ~RTLD_DEEPBIND;
  }
  return real.dlopen(path, mode);
}

HOOK_EXPORT void* dlmopen(long link_namespace, const char* path, int mode) {
  be_resolved();
  if (link_namespace != LM_ID_BASE) stats.namespaces.fetch_add(1, std::memory_order_relaxed);
  return real.dlmopen(link_namespace, path, mode);
}

// libc declares these two with an ellipsis; in registers that is the same.
HOOK_EXPORT int watched_prctl(int, unsigned long, unsigned long, unsigned long, unsigned long) __asm__("prctl");
HOOK_EXPORT long watched_syscall(long, long, long, long, long, long, long) __asm__("syscall");

HOOK_EXPORT int watched_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  be_resolved();
  sandbox::State next;
  if (option != PR_SET_SECCOMP || !enters(a - SECCOMP_MODE_STRICT, 0, next)) return real.prctl(option, a, b, c, d);
  const sandbox::State before = sandbox::enter(next);
  const int result = real.prctl(option, a, b, c, d);
  if (result < 0) sandbox::leave(before);  // above 0: a listener's descriptor, or a thread that could not follow
  return result;
}

HOOK_EXPORT long watched_syscall(long number, long a, long b, long c, long d, long e, long f) {
  be_resolved();
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
