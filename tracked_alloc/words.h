#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

/// Looks for words that may be pointers into a stretch of addresses, eight bytes at any multiple of four: packed
/// structures, such as epoll_event, have them there. Nearly all words are none, so 32 bytes are looked at at a time.
namespace poireau::tracked_alloc::words {

/// Calls visit(word) for each word of the bytes that is in [kFirst, kFirst + 2^kBits), a multiple of its size.
template <uint64_t kFirst, unsigned kBits, typename Visit>
inline void for_each(std::span<const std::byte> bytes, Visit&& visit) noexcept {
  static_assert(kBits > 32 && kFirst % (uint64_t{1} << kBits) == 0);
  constexpr unsigned kShift = kBits - 32;
  constexpr auto kHigh = static_cast<uint32_t>(kFirst >> kBits);
  using Halves = uint32_t __attribute__((vector_size(16), aligned(4), may_alias));
  // A word is found by its upper half; at `half` begins the first that may be one.
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(bytes.data()) + 3) & ~uintptr_t{3};
  const uintptr_t end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size()) & ~uintptr_t{3};
  const auto look = [&](uintptr_t half) {
    uint64_t word;
    std::memcpy(&word, reinterpret_cast<const void*>(half - 4), sizeof word);
    if (word >> kBits == kHigh) visit(word);
  };
  uintptr_t half = begin + 4;
  for (; half + 32 <= end; half += 32) {
    const Halves first = *reinterpret_cast<const Halves*>(half), second = *reinterpret_cast<const Halves*>(half + 16);
    const auto a = (first >> kShift) == kHigh, b = (second >> kShift) == kHigh;
    using Longs = uint64_t __attribute__((vector_size(16)));
    const Longs any = reinterpret_cast<Longs>(a | b);
    if ((any[0] | any[1]) == 0) [[likely]]
      continue;
    for (unsigned i = 0; i < 4; ++i)
      if (a[i] != 0) look(half + i * 4);
    for (unsigned i = 0; i < 4; ++i)
      if (b[i] != 0) look(half + 16 + i * 4);
  }
  for (; half + 4 <= end; half += 4) look(half);
}

}  // namespace poireau::tracked_alloc::words
