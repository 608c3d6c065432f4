#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>

#include "preload/calls.h"
#include "preload/fork_copy.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"
#include "tracked_alloc/homes.h"

// Functions of libc that change what the kernel lets us do. libc declares both with an ellipsis; callers put the
// arguments where they would put longs, and those they don't give are whatever was there.

using namespace poireau;

namespace {

/// The kind of sandbox that a seccomp call with this operation enters, if any.
bool enters(unsigned long operation, sandbox::State& out) noexcept {
  out = operation == SECCOMP_SET_MODE_STRICT ? sandbox::State::strict : sandbox::State::filtered;
  return operation <= SECCOMP_SET_MODE_FILTER;
}

/// Makes a call that may enter a sandbox. Before it, since other threads may enter with this one.
template <typename Call>
auto entering(sandbox::State next, Call&& call) noexcept {
  using tracked_alloc::pages::Seal;
  sampled::prepare_for_sandbox();
  const Seal sealed = tracked_alloc::seal(next == sandbox::State::strict ? Seal::strict : Seal::filtered);
  const sandbox::State before = sandbox::enter(next);
  const auto result = call();
  if (result < 0) {  // above 0: a listener's descriptor, or a thread that could not follow
    sandbox::leave(before);
    tracked_alloc::seal(sealed);
  }
  return result;
}

/// A fork of which no handler is told.
template <typename Fork>
auto forking(Fork&& fork) noexcept {
  if (fork_copy::forking()) return fork();
  fork_copy::before();
  const auto child = fork();
  if (child == 0)
    sampled::notice_fork();
  else
    fork_copy::in_parent();
  return child;
}

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int watched_prctl(int, unsigned long, unsigned long, unsigned long,
                                                 unsigned long) __asm__("prctl");
int watched_prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
  lifecycle::be_resolved();
  sandbox::State next;
  if (option != PR_SET_SECCOMP || !enters(a - SECCOMP_MODE_STRICT, next)) return real.prctl(option, a, b, c, d);
  return entering(next, [&] { return real.prctl(option, a, b, c, d); });
}

[[gnu::visibility("default")]] int watched_fork() noexcept __asm__("_Fork");
int watched_fork() noexcept {
  lifecycle::be_resolved();
  return forking([] { return real._Fork(); });
}

// syscall has a seventh argument, on the stack, where a caller that gives fewer has data of its own, which another
// thread may be writing: C++ would copy it, so the way past us is written by hand and touches registers only. Calls of
// syscalls.def are looked at as if they had been made by the function of their name (wraps_calls.cc).
[[gnu::visibility("hidden")]] constinit decltype(real.syscall) poireau_next_syscall = nullptr;
[[gnu::visibility("hidden")]] void poireau_find_syscall() {
  lifecycle::be_resolved();
  poireau_next_syscall = real.syscall;
}
[[gnu::visibility("hidden")]] long poireau_watched_syscall(long number, long a, long b, long c, long d, long e) {
  if (number == SYS_fork) return forking([&] { return real.syscall(number, a, b, c, d, e, 0); });
  sandbox::State next;
  const bool by_prctl = number == SYS_prctl;
  const bool is_seccomp = !by_prctl || a == PR_SET_SECCOMP;
  if (!is_seccomp || !enters(static_cast<unsigned long>(by_prctl ? b - SECCOMP_MODE_STRICT : a), next))
    return real.syscall(number, a, b, c, d, e, 0);
  return entering(next, [&] { return real.syscall(number, a, b, c, d, e, 0); });
}

}  // extern "C"

static_assert(SYS_fork == 57 && SYS_prctl == 157 && SYS_seccomp == 317);
static_assert(calls::kRaw == 256 && poireau_raw_calls.size() == 512);
__asm__(R"(
  .pushsection .text.syscall, "ax", @progbits
  .globl syscall
  .type syscall, @function
syscall:
  .cfi_startproc
  mov poireau_next_syscall(%rip), %r11
  test %r11, %r11
  jz 2f
1:
  cmp $57, %rdi
  je poireau_watched_syscall
  cmp $157, %rdi
  je poireau_watched_syscall
  cmp $317, %rdi
  je poireau_watched_syscall
  cmpb $0, poireau_watching(%rip)
  jne 3f
  jmp *%r11
3:
  cmp $512, %rdi
  jae 4f
  lea poireau_raw_calls(%rip), %rax
  movzbl (%rax, %rdi), %eax
  add $255, %eax
  cmp $256, %eax
  jae poireau_look
4:
  jmp *%r11
2:
  push %rdi
  push %rsi
  push %rdx
  push %rcx
  push %r8
  push %r9
  sub $8, %rsp
  .cfi_adjust_cfa_offset 56
  call poireau_find_syscall
  add $8, %rsp
  pop %r9
  pop %r8
  pop %rcx
  pop %rdx
  pop %rsi
  pop %rdi
  .cfi_adjust_cfa_offset -56
  mov poireau_next_syscall(%rip), %r11
  jmp 1b
  .cfi_endproc
  .size syscall, . - syscall
  .popsection
)");
