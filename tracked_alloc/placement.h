#pragma once
#include <cstddef>
#include <cstdint>

/// Pure arithmetic: how many pages a block needs, and where it lies in them.
namespace poireau::tracked_alloc::placement {

struct Wish {
  size_t size, alignment;
  bool guarded;  // then at random against the guard behind it or the one before it; a plain one anywhere between
};

/// Pages of a home for it; 0: nobody can have that many.
[[nodiscard]] size_t pages_for(const Wish& wish) noexcept;

/// The smallest class of slots (1, 2, 4 ... pages) that has room for that home whatever the slot's address is; at least
/// `classes`: none has.
[[nodiscard]] unsigned class_for(const Wish& wish, size_t pages, unsigned classes) noexcept;

struct Spot {
  uintptr_t home, block;
};
/// Where home and block go in the `room` bytes from `begin`, in which they fit. The home floats by a random number of
/// pages, and a block of 2 MiB or more lies in a home aligned to that, so that huge pages can back it.
[[nodiscard]] Spot place(const Wish& wish, size_t pages, uintptr_t begin, size_t room, uint64_t random) noexcept;

/// The same for a home that is there already.
[[nodiscard]] uintptr_t place_in(const Wish& wish, uintptr_t home, size_t pages, uint64_t random) noexcept;

/// What a home must be aligned to.
[[nodiscard]] size_t home_alignment(const Wish& wish) noexcept;

}  // namespace poireau::tracked_alloc::placement
