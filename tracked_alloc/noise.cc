#include "tracked_alloc/noise.h"

#include <algorithm>
#include <cstring>

#include "preload/base/random.h"

namespace poireau::tracked_alloc::noise {

[[gnu::section(".lbss")]] constinit unsigned char pattern[kPeriod]{};

namespace {

/// Calls `piece(address, size, its noise)` for pieces of the range until it returns true.
template <typename Piece>
void in_pieces(uintptr_t begin, uintptr_t end, Piece&& piece) noexcept {
  while (begin < end) {
    const size_t offset = begin % kPeriod, size = std::min(end - begin, kPeriod - offset);
    if (piece(reinterpret_cast<unsigned char*>(begin), size, pattern + offset)) return;
    begin += size;
  }
}

}  // namespace

void begin(uint64_t seed) noexcept {
  Random random{seed};
  for (size_t at = 0; at < kPeriod; at += sizeof(uint64_t)) {
    const uint64_t odd = random.next() | 0x0101010101010101;
    std::memcpy(pattern + at, &odd, sizeof odd);
  }
}

void fill(uintptr_t begin, uintptr_t end) noexcept {
  in_pieces(begin, end, [](unsigned char* at, size_t size, const unsigned char* noise) {
    asm("" : "+r"(size));  // or the compiler, knowing that it's at most a page, copies it in the slowest way
    std::memcpy(at, noise, size);
    return false;
  });
}

Damage look(uintptr_t begin, uintptr_t end) noexcept {
  Damage damage;
  in_pieces(begin, end, [&damage](const unsigned char* at, size_t size, const unsigned char* noise) {
    if (std::memcmp(at, noise, size) == 0) return false;
    for (size_t i = 0; i < size; ++i) {
      if (at[i] == noise[i]) continue;
      if (damage.first == 0) damage.first = reinterpret_cast<uintptr_t>(at + i);
      damage.bytes = reinterpret_cast<uintptr_t>(at + i) - damage.first + 1;
    }
    return false;
  });
  return damage;
}

}  // namespace poireau::tracked_alloc::noise
