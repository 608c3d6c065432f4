#pragma once
#include <cstdint>

#include "preload/base/random.h"

namespace poireau {

/// The whole part of `mean` * E, where E is exponential with mean 1: the length of a gap between sample points.
///
/// Von Neumann's method needs neither a logarithm nor floating point (the program may run with floating-point traps
/// on): in u1 > u2 > ... > un <= u(n+1), n is odd with probability exp(-u1), so that u1 is kept as the fraction of E
/// just when n is odd, and each rejection adds one to its whole part. About 4.3 calls of `uniform`, which returns all
/// b-bit fractions of 2^64 equally often (here b = 64). The only error is a tie counted as an end, and the grid of u1:
/// every probability P(E < x) is within 2^-b of 1 - exp(-x) for each whole multiple of 2^-b below 1.
template <typename Uniform>
uint64_t exponential(uint64_t mean, Uniform&& uniform) noexcept {
  constexpr uint64_t kTail = 64;  // P(E >= 64) = 1.6e-28
  for (uint64_t whole = 0; whole < kTail; ++whole) {
    const uint64_t first = uniform();
    bool odd = true;
    for (uint64_t last = first, next; (next = uniform()) < last; last = next) odd = !odd;
    if (odd) return whole * mean + multiply_high(mean, first);
  }
  return kTail * mean;
}

/// 1 - exp(-1 / period) in units of 2^-63: the probability that one byte holds a sample point.
constexpr uint64_t hit_in_one_byte(uint64_t period) noexcept {
  uint64_t sum = 0, term = uint64_t{1} << 63;
  for (uint64_t n = 1; n < 24 && (term /= n * period) != 0; ++n) sum += n % 2 == 1 ? term : -term;
  return sum;
}

}  // namespace poireau
