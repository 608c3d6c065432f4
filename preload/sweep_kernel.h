#pragma once
#include <cstdint>

/// What the kernel keeps of the program's words.
namespace poireau::sweep {

using ShowWord = void (*)(void* to, uint64_t word) noexcept;

struct Kept {
  bool whole = true;      // all that can be known
  bool watchers = false;  // the program has a userfaultfd of its own
};
/// What comes back with events of epoll and of timers.
[[nodiscard]] Kept show_kept_by_kernel(ShowWord show, void* to) noexcept;

}  // namespace poireau::sweep
