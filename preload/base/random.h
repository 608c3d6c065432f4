#pragma once
#include <cstdint>

namespace poireau {

/// Scrambles 64 bits; one to one.
constexpr uint64_t scramble(uint64_t bits) noexcept {
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

/// SplitMix64: a stream of 64-bit numbers from a state of eight bytes. Any seed will do.
struct Random {
  uint64_t state = 0;
  constexpr uint64_t next() noexcept { return scramble(state += 0x9e3779b97f4a7c15); }
};

/// `number` * `fraction` / 2^64, rounded down.
constexpr uint64_t multiply_high(uint64_t number, uint64_t fraction) noexcept {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(number) * fraction >> 64);
}

}  // namespace poireau
