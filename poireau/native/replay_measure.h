#pragma once
#include <x86intrin.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

/// What is measured while calls are made again. Nothing here asks anybody for memory.
namespace poireau::replay {

/// Cycles, by how many they were: exactly up to 2 * kParts, then within 1/kParts.
class Histogram {
 public:
  void add(uint64_t cycles) noexcept {
    ++counts_[place_of(cycles)];
    ++count_;
    sum_ += cycles;
    longest_ = std::max(longest_, cycles);
  }
  void add(const Histogram& other) noexcept {
    for (size_t i = 0; i < kPlaces; ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    longest_ = std::max(longest_, other.longest_);
  }
  [[nodiscard]] uint64_t count() const noexcept { return count_; }
  [[nodiscard]] uint64_t sum() const noexcept { return sum_; }
  [[nodiscard]] uint64_t longest() const noexcept { return longest_; }
  /// What `share` of all are at most, in between what was seen: some processors' counters go in steps of many cycles.
  [[nodiscard]] double quantile(double share) const noexcept {
    const double wanted = share * static_cast<double>(count_);
    double before = 0, last = -1, last_at = 0;
    for (size_t i = 0; i < kPlaces; ++i) {
      if (counts_[i] == 0) continue;
      const auto count = static_cast<double>(counts_[i]);
      const double at = before + count / 2;
      if (at >= wanted)
        return last < 0 ? middle_of(i) : last + (middle_of(i) - last) * (wanted - last_at) / (at - last_at);
      before += count;
      last = middle_of(i);
      last_at = at;
    }
    return last < 0 ? 0 : last;
  }
  /// The mean of the shortest ones, that `share` of all.
  [[nodiscard]] double mean_of_shortest(double share) const noexcept {
    const double wanted = share * static_cast<double>(count_);
    double left = wanted, sum = 0;
    for (size_t i = 0; i < kPlaces && left > 0; ++i) {
      const double taken = std::min(left, static_cast<double>(counts_[i]));
      sum += taken * middle_of(i);
      left -= taken;
    }
    return wanted > 0 ? sum / wanted : 0;
  }

 private:
  static constexpr unsigned kParts = 32, kOctaves = 36;
  static constexpr size_t kPlaces = (kOctaves + 1) * kParts;
  static size_t place_of(uint64_t cycles) noexcept {
    if (cycles < 2 * kParts) return static_cast<size_t>(cycles);
    const unsigned octave = static_cast<unsigned>(std::bit_width(cycles)) - 6;  // so that 32 to 63 are left
    return std::min<size_t>(octave * kParts + static_cast<size_t>(cycles >> octave), kPlaces - 1);
  }
  static double middle_of(size_t place) noexcept {
    if (place < 2 * kParts) return static_cast<double>(place);
    const size_t octave = place / kParts - 1;
    return (static_cast<double>(place - octave * kParts) + 0.5) * static_cast<double>(uint64_t{1} << octave);
  }
  uint64_t counts_[kPlaces], count_, sum_, longest_;
};

// In program order with what is between them.
inline uint64_t ticks_before() noexcept {
  _mm_lfence();
  const uint64_t now = __rdtsc();
  _mm_lfence();
  return now;
}
inline uint64_t ticks_after() noexcept {
  unsigned processor;
  const uint64_t now = __rdtscp(&processor);
  _mm_lfence();
  return now;
}
/// What there is between the two when there is nothing.
[[nodiscard]] double ticks_of_nothing() noexcept;

struct Usage {
  int64_t nanoseconds;  // of the clock
  uint64_t ticks, user_microseconds, system_microseconds, minor_faults, major_faults;
};
[[nodiscard]] Usage usage() noexcept;

/// Bytes of memory in use now (`VmRSS`), and the most since the last `forget_peak` (`VmHWM`); 0: not known.
[[nodiscard]] uint64_t resident(const char* which) noexcept;
/// False: the kernel will not, and the peak is that of the process.
[[nodiscard]] bool forget_peak() noexcept;

}  // namespace poireau::replay
