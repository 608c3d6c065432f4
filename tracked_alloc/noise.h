#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

/// What unused bytes around blocks hold: odd values that nobody can guess, a function of the address alone. Odd, so
/// that a terminating zero that is one too many always shows.
namespace poireau::tracked_alloc::noise {

/// Draws the secret. Until then the noise is nothing but odd.
void begin(uint64_t seed) noexcept;

void fill(uintptr_t begin, uintptr_t end) noexcept;

struct Damage {
  uintptr_t first = 0;  // 0: none
  size_t bytes = 0;     // from there to the last changed one
};
[[nodiscard]] Damage look(uintptr_t begin, uintptr_t end) noexcept;

}  // namespace poireau::tracked_alloc::noise
