#pragma once
#include <ucontext.h>

#include <cstdint>

/// Goes on waiting in place of a call with a time limit that a signal of ours has ended, after our handler and beneath
/// whom it interrupted: made again as it was, the call would begin to wait anew at each sweep.
namespace poireau::repeat {

/// Whether somebody will, for the call of that number. False: make it again.
[[nodiscard]] bool wait_on(ucontext_t* context, int64_t number) noexcept;

/// If it is this that was interrupted, by a signal of ours: it goes on.
[[nodiscard]] bool is_waiting(const ucontext_t* context) noexcept;
void wait_again(ucontext_t* context) noexcept;

}  // namespace poireau::repeat
