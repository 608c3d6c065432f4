#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

/// What unused bytes around blocks hold: odd values that nobody can guess, a function of the address alone. Odd, so
/// that a terminating zero that is one too many always shows.
namespace poireau::tracked_alloc::noise {

/// Draws the secret. Until then the noise is nothing but odd.
void begin(uint64_t seed) noexcept;

constexpr size_t kPeriod = 4096;
[[gnu::visibility("hidden")]] extern unsigned char pattern[kPeriod];

void fill(uintptr_t begin, uintptr_t end) noexcept;

struct Damage {
  uintptr_t first = 0;  // 0: none
  size_t bytes = 0;     // from there to the last changed one
};
[[nodiscard]] Damage look(uintptr_t begin, uintptr_t end) noexcept;

// The same in a few instructions for a few bytes in one page, behind the end of something. `end` is a multiple of 8.
constexpr size_t kFew = 64;
inline uint64_t word_at(uintptr_t address) noexcept {
  uint64_t word;
  std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof word);
  return word;
}
inline uint64_t word_for(uintptr_t address) noexcept {
  return word_at(reinterpret_cast<uintptr_t>(pattern) + address % kPeriod);
}
/// Up to seven bytes before `begin` become noise, too.
[[gnu::always_inline]] inline void fill_behind(uintptr_t begin, uintptr_t end) noexcept {
  if (end - begin > kFew) [[unlikely]]
    return fill(begin, end);
  while (end > begin) {
    end -= sizeof(uint64_t);
    const uint64_t word = word_for(end);
    std::memcpy(reinterpret_cast<void*>(end), &word, sizeof word);
  }
}
[[nodiscard, gnu::always_inline]] inline bool is_whole(uintptr_t begin, uintptr_t end) noexcept {
  if (end - begin > kFew) [[unlikely]]
    return look(begin, end).first == 0;
  for (; end >= begin + sizeof(uint64_t); end -= sizeof(uint64_t))
    if (word_at(end - sizeof(uint64_t)) != word_for(end - sizeof(uint64_t))) return false;
  // The highest bytes of the last word are those at the end.
  return end == begin ||
         (word_at(end - sizeof(uint64_t)) ^ word_for(end - sizeof(uint64_t))) >> (64 - 8 * (end - begin)) == 0;
}

}  // namespace poireau::tracked_alloc::noise
