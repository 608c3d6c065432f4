#include "tracked_alloc/placement.h"

#include <algorithm>

#include "preload/base/random.h"

namespace poireau::tracked_alloc::placement {
namespace {

constexpr size_t kPage = 4096, kHuge = size_t{2} << 20;

constexpr uintptr_t round_up(uintptr_t value, size_t alignment) noexcept {
  return (value + alignment - 1) & -alignment;
}

}  // namespace

size_t pages_for(const Wish& wish) noexcept {
  constexpr size_t kMost = size_t{1} << 44;
  if (wish.size > kMost || wish.alignment > kMost) return 0;
  return std::max<size_t>(1, (wish.size + kPage - 1) / kPage);
}

size_t home_alignment(const Wish& wish) noexcept {
  return std::max({kPage, wish.alignment, wish.size >= kHuge ? kHuge : 0});
}

unsigned class_for(const Wish& wish, size_t pages, unsigned classes) noexcept {
  const size_t needed = pages + home_alignment(wish) / kPage - 1;
  unsigned found = 0;
  while (found < classes && size_t{1} << found < needed) ++found;
  return found;
}

uintptr_t place_in(const Wish& wish, uintptr_t home, size_t pages, uint64_t random) noexcept {
  const size_t taken = round_up(std::max<size_t>(wish.size, 1), wish.alignment);
  if (taken > pages * kPage) return home;
  const size_t left = pages * kPage - taken;
  if (!wish.guarded) return home + multiply_high(left / wish.alignment + 1, random) * wish.alignment;
  return home + ((random & 1) != 0 ? left : 0);
}

Spot place(const Wish& wish, size_t pages, uintptr_t begin, size_t room, uint64_t random) noexcept {
  const size_t alignment = home_alignment(wish);
  const uintptr_t first = round_up(begin, alignment), last = (begin + room - pages * kPage) & -alignment;
  const uint64_t choices = wish.guarded && last > first ? (last - first) / alignment + 1 : 1;
  const uintptr_t home = first + multiply_high(choices, random) * alignment;
  return {home, place_in(wish, home, pages, scramble(random))};
}

}  // namespace poireau::tracked_alloc::placement
