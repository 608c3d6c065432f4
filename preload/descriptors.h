#pragma once
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace poireau {

/// Descriptors, by number. Any thread, any time. All-zero holds none.
class Descriptors {
 public:
  static constexpr int kEnd = 4096;  // numbers from here on are not kept

  void add(int number) noexcept {
    if (number >= 0 && number < kEnd) word(number).fetch_or(bit(number), std::memory_order_relaxed);
  }
  void remove(int number) noexcept {
    if (number >= 0 && number < kEnd) word(number).fetch_and(~bit(number), std::memory_order_relaxed);
  }
  /// The first of them from `number` on; -1: there is none.
  [[nodiscard]] int next(int number) const noexcept {
    for (int from = number < 0 ? 0 : number; from < kEnd; from = (from / kBits + 1) * kBits)
      if (const uint64_t rest = words_[from / kBits].load(std::memory_order_relaxed) >> (from % kBits); rest != 0)
        return from + std::countr_zero(rest);
    return -1;
  }
  [[nodiscard]] bool has(int number) const noexcept { return number >= 0 && next(number) == number; }

 private:
  static constexpr int kBits = 64;
  static constexpr uint64_t bit(int number) noexcept { return uint64_t{1} << (number % kBits); }
  std::atomic<uint64_t>& word(int number) noexcept { return words_[number / kBits]; }

  std::atomic<uint64_t> words_[kEnd / kBits]{};
};

/// Those that LTTng has opened for itself, of which the program knows nothing; nullptr: it isn't loaded.
inline constinit std::atomic<const Descriptors*> lttng_descriptors{nullptr};

}  // namespace poireau
