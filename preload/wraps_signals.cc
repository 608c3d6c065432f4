#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cerrno>

#include "preload/base/sys.h"
#include "preload/base/undisturbed.h"
#include "preload/faults.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/stop.h"

// Functions of libc that set a handler or block a signal. For SIGSEGV and SIGBUS, once guarded homes may come to exist,
// and for the signal that stops threads what they do is done here: handlers go behind ours, and no mask blocks either,
// since a fault on a guard that is blocked kills. libc's own would reach the kernel past us.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace poireau;

namespace {

bool is_faults(int number) noexcept { return faults::expected() && faults::watches(number); }
bool is_ours(int number) noexcept { return is_faults(number) || (number == stop::signal_number() && number != 0); }

int change(int number, const struct sigaction* action, struct sigaction* old) noexcept {
  return is_faults(number) ? faults::change(number, action, old) : stop::change(action, old);
}

uint64_t never_blocked() noexcept {
  const int stopping = stop::signal_number();
  return (faults::expected() ? sys::signal_bit(SIGSEGV) | sys::signal_bit(SIGBUS) : 0) |
         (stopping != 0 ? sys::signal_bit(stopping) : 0);
}

/// `set` without what is never to be blocked, itself or in `copy`.
const sigset_t* blockable(const sigset_t* set, sigset_t& copy) noexcept {
  const uint64_t never = never_blocked();
  if (never == 0 || set == nullptr || (set->__val[0] & never) == 0) return set;
  copy = {{set->__val[0] & ~never}};  // the kernel knows no more of them
  return &copy;
}
int blockable(int set) noexcept { return static_cast<int>(static_cast<unsigned>(set) & ~never_blocked()); }

/// Of the signals that are ours, those that siginterrupt has asked to interrupt.
constinit std::atomic<uint64_t> interrupting{0};

/// The program is about to set this handler, perhaps.
void expect(sighandler_t handler) noexcept {
  if (handler != SIG_DFL && handler != SIG_IGN && handler != SIG_HOLD && handler != SIG_ERR)
    Undisturbed::handlers.store(true, std::memory_order_relaxed);
}

template <typename Result>
Result noted(Result result, Result failure) noexcept {
  if (result != failure) faults::saw_sigaction_work();
  return result;
}

int set(int number, sighandler_t handler, int flags, uint64_t mask, struct sigaction& old) noexcept {
  struct sigaction action {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  action.sa_mask.__val[0] = mask;
  return noted(change(number, &action, &old), -1);
}

sighandler_t handle(int number, sighandler_t handler, int flags, uint64_t mask) noexcept {
  struct sigaction old;
  return set(number, handler, flags, mask, old) == 0 ? old.sa_handler : SIG_ERR;
}

/// signal() and its kin take everything for a handler but this.
bool refused(sighandler_t handler) noexcept {
  if (handler == SIG_ERR) errno = EINVAL;
  return handler == SIG_ERR;
}

sighandler_t handle_as_bsd(int number, sighandler_t handler) noexcept {
  if (refused(handler)) return SIG_ERR;
  const uint64_t bit = sys::signal_bit(number);
  return handle(number, handler, (interrupting & bit) != 0 ? 0 : SA_RESTART, bit);
}

sighandler_t handle_as_system_v(int number, sighandler_t handler) noexcept {
  if (refused(handler)) return SIG_ERR;
  return handle(number, handler, static_cast<int>(SA_RESETHAND | SA_NODEFER | SA_INTERRUPT), 0);
}

}  // namespace

HOOK_EXPORT int sigaction(int number, const struct sigaction* action, struct sigaction* old) noexcept {
  lifecycle::be_resolved();
  if (action != nullptr) expect(action->sa_handler);
  if (is_ours(number)) return noted(change(number, action, old), -1);
  struct sigaction copy;
  if (action != nullptr && blockable(&action->sa_mask, copy.sa_mask) == &copy.sa_mask) {
    const sigset_t mask = copy.sa_mask;
    copy = *action;
    copy.sa_mask = mask;
    action = &copy;
  }
  return noted(real.sigaction(number, action, old), -1);
}

HOOK_EXPORT sighandler_t signal(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  return is_ours(number) ? handle_as_bsd(number, handler) : noted(real.signal(number, handler), SIG_ERR);
}
HOOK_EXPORT sighandler_t bsd_signal(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  return is_ours(number) ? handle_as_bsd(number, handler) : real.bsd_signal(number, handler);
}
HOOK_EXPORT sighandler_t ssignal(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  return is_ours(number) ? handle_as_bsd(number, handler) : real.ssignal(number, handler);
}

HOOK_EXPORT sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  return is_ours(number) ? handle_as_system_v(number, handler) : real.sysv_signal(number, handler);
}
HOOK_EXPORT sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  return is_ours(number) ? handle_as_system_v(number, handler) : real.__sysv_signal(number, handler);
}

HOOK_EXPORT sighandler_t sigset(int number, sighandler_t handler) noexcept {
  lifecycle::be_resolved();
  expect(handler);
  if (!is_ours(number)) return real.sigset(number, handler);
  const sigset_t itself = {{sys::signal_bit(number)}};
  sigset_t blocked;
  if (handler == SIG_HOLD) {  // to block it, that is
    struct sigaction now;
    if (change(number, nullptr, &now) != 0) return SIG_ERR;
    handler = now.sa_handler;
    if (real.sigprocmask(SIG_BLOCK, nullptr, &blocked) != 0) return SIG_ERR;
  } else {
    handler = handle(number, handler, 0, 0);
    if (handler == SIG_ERR || real.sigprocmask(SIG_UNBLOCK, &itself, &blocked) != 0) return SIG_ERR;
  }
  return (blocked.__val[0] & itself.__val[0]) != 0 ? SIG_HOLD : handler;
}

HOOK_EXPORT int sigignore(int number) noexcept {
  lifecycle::be_resolved();
  if (!is_ours(number)) return real.sigignore(number);
  struct sigaction old;
  return set(number, SIG_IGN, 0, 0, old);
}

HOOK_EXPORT int siginterrupt(int number, int interrupts) noexcept {
  lifecycle::be_resolved();
  if (!is_ours(number)) return real.siginterrupt(number, interrupts);
  struct sigaction action;
  if (change(number, nullptr, &action) != 0) return -1;
  if (interrupts != 0) {
    interrupting |= sys::signal_bit(number);
    action.sa_flags &= ~SA_RESTART;
  } else {
    interrupting &= ~sys::signal_bit(number);
    action.sa_flags |= SA_RESTART;
  }
  return change(number, &action, nullptr);
}

HOOK_EXPORT int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  lifecycle::be_resolved();
  sigset_t copy;
  return real.sigprocmask(how, how == SIG_UNBLOCK ? set : blockable(set, copy), old);
}

HOOK_EXPORT int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept {
  lifecycle::be_resolved();
  sigset_t copy;
  return real.pthread_sigmask(how, how == SIG_UNBLOCK ? set : blockable(set, copy), old);
}

HOOK_EXPORT int pthread_attr_setsigmask_np(pthread_attr_t* attributes, const sigset_t* set) {
  lifecycle::be_resolved();
  sigset_t copy;
  return real.pthread_attr_setsigmask_np(attributes, blockable(set, copy));
}

// A cancellation point, and where other signals' handlers run.
HOOK_EXPORT int sigsuspend(const sigset_t* set) {
  lifecycle::be_resolved();
  sigset_t copy;
  return real.sigsuspend(blockable(set, copy));
}

HOOK_EXPORT int sighold(int number) noexcept {
  lifecycle::be_resolved();
  return is_ours(number) ? 0 : real.sighold(number);
}

HOOK_EXPORT int sigblock(int set) noexcept {
  lifecycle::be_resolved();
  return real.sigblock(blockable(set));
}

HOOK_EXPORT int sigsetmask(int set) noexcept {
  lifecycle::be_resolved();
  return real.sigsetmask(blockable(set));
}
