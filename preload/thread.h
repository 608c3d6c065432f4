#pragma once
#include <cstddef>
#include <cstdint>

namespace poireau {
/// The calling thread's number (gettid, asked for once a thread and again in a fork child); in a sandbox, where the
/// kernel may not be asked, one made of its address.
[[nodiscard]] uint32_t thread_number() noexcept;
void forget_thread_number() noexcept;

/// Whether this much is left of the stack that the calling thread is on, be it the thread's, a signal's or a fiber's.
/// Asks the kernel, but not again for the same pages; true where it may not be asked.
[[nodiscard]] bool room_on_stack(size_t bytes) noexcept;

/// Whether that is the thread's own stack pointer, not a signal's or a fiber's, with this much left below.
[[nodiscard]] bool may_grow_down(uintptr_t sp, size_t bytes) noexcept;

/// Whole pages in one piece, all of them readable; all zero: none.
struct StackPages {
  uintptr_t begin = 0, end = 0;
  [[nodiscard]] bool hold(uintptr_t at) const noexcept { return at - begin < end - begin; }
};
/// The pages around `sp` that are known to be readable; `sp` lies on the stack that the calling thread is on.
[[nodiscard]] StackPages stack_pages(uintptr_t sp) noexcept;
/// The same for a stack pointer that may be anything; none if it can't be read, or nobody knows.
[[nodiscard]] StackPages stack_pages_at(uintptr_t sp) noexcept;
/// Has them reach to `end`; false if not all up to it can be read, or nobody knows, or it is too far away.
[[nodiscard]] bool reach(StackPages& pages, uintptr_t end) noexcept;
}  // namespace poireau
