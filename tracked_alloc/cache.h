#pragma once
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/region.h"

/// Freed plain homes that keep their pages for the next block, so that it need not wait for the kernel to find and
/// zero new ones. Bounded, and what nobody wants for a second or two goes back.
namespace poireau::tracked_alloc::cache {

/// The home's state is `freed`. Homes that it pushes out, or that are too old, come back through `out`, already busy:
/// their pages are to be dropped. At most three.
struct Leaving {
  region::Id homes[3];
  unsigned count = 0;
};
[[nodiscard]] Leaving put(region::Id id, size_t limit, uint64_t now) noexcept;

/// A slot of that class, busy; not one that was freed just now.
[[nodiscard]] bool take_slot(unsigned size_class, region::Id& out) noexcept;
/// The GiB home that fits best, busy: at least `pages`, not much more, and aligned.
[[nodiscard]] bool take_gib(size_t pages, size_t alignment, region::Id& out) noexcept;

[[nodiscard]] size_t bytes() noexcept;

}  // namespace poireau::tracked_alloc::cache
