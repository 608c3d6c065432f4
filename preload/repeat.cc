#include "preload/repeat.h"

#include <signal.h>
#include <sys/syscall.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string_view>

#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/real.h"
#include "preload/repeat_wait.h"

namespace poireau::repeat {
namespace {

constexpr uint8_t kCall[] = {0x0f, 0x05};  // syscall
constexpr uint8_t kLoad = 0xb8;            // mov $number, %eax
constexpr size_t kLoadSize = 5, kFarthest = 40;
constexpr int kLibcs = 32;  // the first signal that is libc's own, up to SIGRTMIN

/// The word of a text where spaces are between them, and the rest of the text.
std::string_view take_word(std::string_view& text) noexcept {
  const size_t end = std::min(text.find_first_of(" \n"), text.size());
  const std::string_view word(text.data(), end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return word;
}

bool read_hexadecimal(std::string_view word, uint64_t& out) noexcept {
  if (word.starts_with("0x")) word.remove_prefix(2);
  return read_number(word, 16, UINT64_MAX, out);
}

bool is_call(uintptr_t at) noexcept { return std::memcmp(reinterpret_cast<const void*>(at), kCall, sizeof kCall) == 0; }

constexpr int16_t kThatWait[] = {
    SYS_poll,        SYS_select,     SYS_pause,        SYS_nanosleep,  SYS_connect,         SYS_accept,
    SYS_sendto,      SYS_recvfrom,   SYS_sendmsg,      SYS_recvmsg,    SYS_semop,           SYS_msgsnd,
    SYS_msgrcv,      SYS_flock,      SYS_fcntl,        SYS_semtimedop, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
    SYS_futex,       SYS_epoll_wait, SYS_mq_timedsend, SYS_pselect6,   SYS_clock_nanosleep, SYS_io_getevents,
    SYS_accept4,     SYS_recvmmsg,   SYS_ppoll,        SYS_sendmmsg,   SYS_mq_timedreceive, SYS_epoll_pwait,
    SYS_wait4,       SYS_waitid,     SYS_readv,        SYS_writev,     SYS_write,           SYS_openat,
    SYS_ioctl,       SYS_getrandom,  SYS_preadv2,      SYS_pwritev2,   SYS_splice,          SYS_io_pgetevents,
    SYS_epoll_pwait2};

/// The number of a call, from the instruction that loads it not far before the call itself (in libc some arguments may
/// come between the two); -1: there is none.
int64_t number_before(uintptr_t call) noexcept {
  const auto* const code = reinterpret_cast<const uint8_t*>(call);
  for (size_t back = kLoadSize; back <= kFarthest; ++back) {
    if (code[-static_cast<ptrdiff_t>(back)] != kLoad) continue;
    int32_t number;
    std::memcpy(&number, code - back + 1, sizeof number);
    if (std::find(std::begin(kThatWait), std::end(kThatWait), number) != std::end(kThatWait)) return number;
  }
  constexpr uint8_t kZero[] = {0x31, 0xc0};  // xor %eax, %eax
  return std::memcmp(code - sizeof kZero, kZero, sizeof kZero) == 0 ? SYS_read : -1;
}

/// Whether a call waits for signals that are blocked else: who makes it counts on its end after a handler, and copes
/// with one too many.
bool waits_for_signals(const ucontext_t* context, int64_t number) noexcept {
  const auto given = [&](int at) { return context->uc_mcontext.gregs[at] != 0; };
  switch (number) {
    case SYS_rt_sigsuspend:
      return true;
    case SYS_ppoll:
      return given(REG_R10);
    case SYS_epoll_pwait:
    case SYS_epoll_pwait2:
      return given(REG_R8);
    case SYS_pselect6:
      return given(REG_R9) && *reinterpret_cast<const uint64_t*>(context->uc_mcontext.gregs[REG_R9]) != 0;
    default:
      return false;
  }
}

/// Whether a signal of the program's is about to be handled that would have ended the call. `restarting`: the call is
/// one that its SA_RESTART makes go on.
bool another_interrupts(const ucontext_t* context, bool restarting) noexcept {
  for (uint64_t left = sys::pending_signals() & ~context->uc_sigmask.__val[0]; left != 0; left &= left - 1) {
    struct sigaction action;
    const int signal = std::countr_zero(left) + 1;
    if (signal >= kLibcs && signal < SIGRTMIN) continue;
    if (real.sigaction(signal, nullptr, &action) != 0) continue;
    if (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
        !(restarting && (action.sa_flags & SA_RESTART) != 0))
      return true;
  }
  return false;
}

}  // namespace

Call call_of(int tasks, int thread) noexcept {
  char name[32], text[256];
  std::memcpy(write_number(name, static_cast<uint64_t>(thread)), "/syscall", 9);
  const int file = sys::open_to_read_in(tasks, name);
  if (file < 0) return {};
  const int64_t size = sys::read(file, text);
  sys::close(file);
  // number, six arguments, stack pointer, instruction
  std::string_view rest(text, static_cast<size_t>(std::max<int64_t>(size, 0)));
  uint64_t number, word = 0;
  if (!read_number(take_word(rest), 10, 1 << 20, number)) return {};
  for (int i = 0; i < 8; ++i)
    if (!read_hexadecimal(take_word(rest), word)) return {};
  return {static_cast<int64_t>(number), word};
}

void go_on(ucontext_t* context, const Call& call) noexcept {
  constexpr int64_t kInterrupted = -EINTR;
  greg_t& instruction = context->uc_mcontext.gregs[REG_RIP];
  greg_t& result = context->uc_mcontext.gregs[REG_RAX];
  const auto at = static_cast<uintptr_t>(instruction);
  if (is_waiting(context)) {
    if (!another_interrupts(context, false)) wait_again(context);
    return;
  }
  if (call.number >= 0 && call.behind == at + sizeof kCall && result == call.number) {
    // The kernel repeats it, which it would not have done for a signal of the program's that came meanwhile.
    if (!another_interrupts(context, true)) return;
    instruction += sizeof kCall;
    result = kInterrupted;
    return;
  }
  if (result != kInterrupted) return;
  const uintptr_t before = at - sizeof kCall;
  const bool noted = call.number >= 0 && call.behind == at;
  if (!noted && !(sys::readable(reinterpret_cast<const void*>(before - kFarthest)) && is_call(before))) return;
  const int64_t number = noted ? call.number : number_before(before);
  if (number < 0 || number == SYS_close) return;  // which has closed it all the same
  // Perhaps a handler of the program's has come back just now, and what it ended must not wait again.
  if (!noted && waits_for_signals(context, number)) return;
  if (another_interrupts(context, false) || wait_on(context, number)) return;
  instruction = static_cast<greg_t>(before);
  result = number;
}

}  // namespace poireau::repeat
