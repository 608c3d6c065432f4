#include "preload/repeat_wait.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"

extern "C" {
[[gnu::visibility("hidden")]] long poireau_repeat(long number, const unsigned long* arguments) noexcept;
[[gnu::visibility("hidden")]] extern const char poireau_repeated[];
}

namespace poireau::repeat {
namespace {

constexpr int64_t kAgain = -4000;  // no error of the kernel's
constexpr int64_t kNanosecond = 1'000'000'000, kMillisecond = 1'000'000;

/// Where a call's time limit is: in milliseconds, or the address of a timespec.
struct Limit {
  int16_t number;
  uint8_t at;
  bool milliseconds;
};
constexpr Limit kLimits[] = {
    {SYS_poll, 2, true},
    {SYS_epoll_wait, 3, true},
    {SYS_epoll_pwait, 3, true},
    {SYS_epoll_pwait2, 3, false},
    {SYS_nanosleep, 0, false},
    {SYS_clock_nanosleep, 2, false},
    {SYS_rt_sigtimedwait, 2, false},
    {SYS_semtimedop, 3, false},
    {SYS_futex, 3, false},
    {SYS_io_getevents, 4, false},
};

using Arguments = unsigned long[6];

/// Whether the limit is so long from now on, on the clock that we can tell.
bool is_relative(int64_t number, const Arguments& given) noexcept {
  if (number == SYS_clock_nanosleep)
    return given[1] == 0 && (given[0] == CLOCK_REALTIME || given[0] == CLOCK_MONOTONIC || given[0] == CLOCK_BOOTTIME);
  if (number == SYS_futex)
    return (given[1] & ~static_cast<unsigned long>(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)) == FUTEX_WAIT;
  return true;
}

/// In nanoseconds; negative: there is none.
int64_t limit_of(const Limit& limit, const Arguments& given) noexcept {
  const unsigned long word = given[limit.at];
  if (limit.milliseconds) return static_cast<int>(word) < 0 ? -1 : static_cast<int>(word) * kMillisecond;
  if (word == 0) return -1;
  const auto* const time = reinterpret_cast<const timespec*>(word);  // which the kernel has read
  return time->tv_sec > INT32_MAX ? -1 : time->tv_sec * kNanosecond + time->tv_nsec;
}

}  // namespace

bool wait_on(ucontext_t* context, int64_t number) noexcept {
  const auto* const limit =
      std::find_if(std::begin(kLimits), std::end(kLimits), [&](const Limit& each) { return each.number == number; });
  // On a signal stack there may be no room for the program's handlers behind ours.
  if (limit == std::end(kLimits) || (context->uc_stack.ss_flags & SS_DISABLE) == 0) return false;
  constexpr int kRegisters[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};
  Arguments given;
  for (int i = 0; i < 6; ++i) given[i] = static_cast<unsigned long>(context->uc_mcontext.gregs[kRegisters[i]]);
  const int64_t length = is_relative(number, given) ? limit_of(*limit, given) : -1;
  const int64_t now = sys::monotonic_time();
  if (length < 0 || now == 0) return false;
  const int64_t end = now + length;
  sys::set_blocked_signals(context->uc_sigmask.__val[0]);
  int64_t result;
  do {
    const int64_t left = std::max<int64_t>(end - sys::monotonic_time(), 0);
    const timespec rest{left / kNanosecond, left % kNanosecond};
    given[limit->at] = limit->milliseconds ? static_cast<unsigned long>((left + kMillisecond - 1) / kMillisecond)
                                           : reinterpret_cast<unsigned long>(&rest);
    result = poireau_repeat(number, given);
  } while (result == kAgain);
  context->uc_mcontext.gregs[REG_RAX] = result;
  return true;
}

bool is_waiting(const ucontext_t* context) noexcept {
  return context::instruction(context) == reinterpret_cast<uintptr_t>(poireau_repeated);
}

void wait_again(ucontext_t* context) noexcept {
  if (context->uc_mcontext.gregs[REG_RAX] == -EINTR) context->uc_mcontext.gregs[REG_RAX] = kAgain;
}

}  // namespace poireau::repeat

__asm__(R"(
  .pushsection .text.poireau_repeat, "ax", @progbits
  .hidden poireau_repeat
  .globl poireau_repeat
  .type poireau_repeat, @function
poireau_repeat:
  .cfi_startproc
  mov %rdi, %rax
  mov %rsi, %r11
  mov (%r11), %rdi
  mov 8(%r11), %rsi
  mov 16(%r11), %rdx
  mov 24(%r11), %r10
  mov 32(%r11), %r8
  mov 40(%r11), %r9
  syscall
  .hidden poireau_repeated
  .globl poireau_repeated
poireau_repeated:
  ret
  .cfi_endproc
  .size poireau_repeat, . - poireau_repeat
  .popsection
)");
