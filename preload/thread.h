#pragma once
#include <cstddef>
#include <cstdint>

namespace poireau {
/// The calling thread's number (gettid, asked for once a thread and again in a fork child); in a sandbox, where the
/// kernel may not be asked, one made of its address.
[[nodiscard]] uint32_t thread_number() noexcept;
void forget_thread_number() noexcept;

/// Whether this much is left of the stack that the calling thread is on, be it the thread's, a signal's or a fiber's.
/// Asks the kernel, but not again for the same pages in a row; true where it may not be asked.
[[nodiscard]] bool room_on_stack(size_t bytes) noexcept;
}  // namespace poireau
