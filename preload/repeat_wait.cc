#include "preload/repeat_wait.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>

#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"
#include "preload/thread.h"

namespace poireau::repeat {
namespace {
struct Waiting;
}
}  // namespace poireau::repeat

extern "C" {
[[gnu::visibility("hidden")]] extern const char poireau_wait_here[], poireau_repeated[];
[[gnu::visibility("hidden")]] int64_t poireau_wait_on(poireau::repeat::Waiting& call) noexcept;
[[gnu::visibility("hidden")]] int64_t poireau_repeat(int64_t number, const unsigned long* arguments) noexcept;
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

/// What the code below finds on the stack of who was interrupted.
struct Waiting {
  uint64_t instruction, stack;  // where to go on, and with which
  Arguments given;
  int64_t number, end;
  const Limit* limit;
  timespec rest;
  alignas(16) std::byte registers[512];  // that calls may change, of the other kind
};
static_assert(offsetof(Waiting, given) == 16 && offsetof(Waiting, registers) == 112);

constexpr int kRegisters[] = {REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8, REG_R9};

/// Below what a function may use without saying so; nullptr: there may be no room. If we are on that stack, there is.
Waiting* place_for(const ucontext_t* context) noexcept {
  constexpr uintptr_t kRedZone = 128, kOurs = 1024;
  const uintptr_t sp = context::stack_pointer(context);
  const bool elsewhere = (context->uc_stack.ss_flags & SS_DISABLE) == 0;
  if (elsewhere && !may_grow_down(sp, kRedZone + sizeof(Waiting) + kOurs)) return nullptr;
  return reinterpret_cast<Waiting*>((sp - kRedZone - sizeof(Waiting)) & -uintptr_t{alignof(Waiting)});
}

}  // namespace

bool wait_on(ucontext_t* context, int64_t number) noexcept {
  const auto* const limit =
      std::find_if(std::begin(kLimits), std::end(kLimits), [&](const Limit& each) { return each.number == number; });
  if (limit == std::end(kLimits)) return false;
  auto& registers = context->uc_mcontext.gregs;
  Arguments given;
  for (int i = 0; i < 6; ++i) given[i] = static_cast<unsigned long>(registers[kRegisters[i]]);
  const int64_t length = is_relative(number, given) ? limit_of(*limit, given) : -1;
  const int64_t now = sys::monotonic_time();
  Waiting* const place = length < 0 || now == 0 ? nullptr : place_for(context);
  if (place == nullptr) return false;
  place->instruction = static_cast<uint64_t>(registers[REG_RIP]);
  place->stack = static_cast<uint64_t>(registers[REG_RSP]);
  std::copy_n(given, 6, place->given);
  place->number = number;
  place->end = now + length;
  place->limit = limit;
  registers[REG_RIP] = reinterpret_cast<greg_t>(poireau_wait_here);
  registers[REG_RSP] = reinterpret_cast<greg_t>(place);
  return true;
}

bool is_waiting(const ucontext_t* context) noexcept {
  return context::instruction(context) == reinterpret_cast<uintptr_t>(poireau_repeated);
}

void wait_again(ucontext_t* context) noexcept {
  if (context->uc_mcontext.gregs[REG_RAX] == -EINTR) context->uc_mcontext.gregs[REG_RAX] = kAgain;
}

}  // namespace poireau::repeat

int64_t poireau_wait_on(poireau::repeat::Waiting& call) noexcept {
  using namespace poireau::repeat;
  Arguments given;
  std::copy_n(call.given, 6, given);
  unsigned long& limit = given[call.limit->at];
  int64_t result;
  do {
    const int64_t left = std::max<int64_t>(call.end - poireau::sys::monotonic_time(), 0);
    call.rest = {left / kNanosecond, left % kNanosecond};
    limit = call.limit->milliseconds ? static_cast<unsigned long>((left + kMillisecond - 1) / kMillisecond)
                                     : reinterpret_cast<unsigned long>(&call.rest);
    result = poireau_repeat(call.number, given);
  } while (result == kAgain);
  return result;
}

// poireau_wait_here begins where the call would have returned to, with its Waiting on top of the stack, and ends there:
// its caller is whom the signal interrupted. The frame's address, and that of where to go on, lie in Waiting.
__asm__(R"(
  .pushsection .text.poireau_wait_here, "ax", @progbits
  .hidden poireau_wait_here
  .globl poireau_wait_here
  .type poireau_wait_here, @function
poireau_wait_here:
  .cfi_startproc
  .cfi_signal_frame
  .cfi_escape 0x0f, 3, 0x77, 8, 0x06
  .cfi_escape 0x10, 16, 2, 0x77, 0
  fxsave64 112(%rsp)
  mov %rsp, %rdi
  call poireau_wait_on
  fxrstor64 112(%rsp)
  mov 16(%rsp), %rdi
  mov 24(%rsp), %rsi
  mov 32(%rsp), %rdx
  mov 40(%rsp), %r10
  mov 48(%rsp), %r8
  mov 56(%rsp), %r9
  mov (%rsp), %rcx
  mov 8(%rsp), %rsp
  .cfi_def_cfa %rsp, 0
  .cfi_register 16, 2
  jmp *%rcx
  .cfi_endproc
  .size poireau_wait_here, . - poireau_wait_here
  .popsection

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
