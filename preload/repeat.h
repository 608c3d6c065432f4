#pragma once
#include <ucontext.h>

#include <cstdint>

/// Lets a thread go on after a signal of ours as if it had not come: system calls that the kernel ends with EINTR for
/// a signal, even one with SA_RESTART, are made again.
namespace poireau::repeat {

/// What a thread waits in.
struct Call {
  int64_t number = -1;   // -1: not known
  uintptr_t behind = 0;  // the address of the instruction after it
};

/// From /proc/self/task, which is open as `tasks`. A thread that runs is in none.
[[nodiscard]] Call call_of(int tasks, int thread) noexcept;

/// At the end of the handler. `call`: what the thread was in before it was sent the signal, as far as known.
void go_on(ucontext_t* context, const Call& call) noexcept;

}  // namespace poireau::repeat
