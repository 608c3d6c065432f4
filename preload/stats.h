#pragma once
#include <atomic>
#include <cstdint>

#include "preload/clock.h"
#include "preload/poireau.h"

namespace poireau {

/// Counted on cold paths only. poireau.h says what they mean.
struct Stats {
  std::atomic<uint64_t> samples, sampled_bytes, counted_bytes, early, dropped, deepbinds, namespaces;
  // Cycles: what samples took, and what threads did that only came to look, each time up to Metered::kLongest; and all
  // beyond that, which mostly are waits for a processor.
  std::atomic<uint64_t> for_samples, for_visits, overlong;
  std::atomic<uint64_t> pointers[POIREAU_POINTERS];
  std::atomic<uint64_t> unplaced[POIREAU_DROPS][POIREAU_SIZE_CLASSES];

  [[nodiscard]] uint64_t cycles() const noexcept {
    return for_samples.load(std::memory_order_relaxed) + for_visits.load(std::memory_order_relaxed) +
           overlong.load(std::memory_order_relaxed);
  }
};
[[gnu::visibility("hidden")]] extern constinit Stats stats;

/// Counts what the processor does for samples while this is there. Not to be nested.
class Metered {
 public:
  /// `since`: it began then, in ticks.
  explicit Metered(uint64_t since = clock::ticks()) noexcept : since_(since) {}
  ~Metered() { pause(); }
  Metered(const Metered&) = delete;
  Metered& operator=(const Metered&) = delete;
  uint64_t pause() const noexcept { return count(stats.for_samples, since_); }
  void go_on(uint64_t since) noexcept { since_ = since; }

  /// What has happened since then, in `what` and in `overlong`; returns the time.
  static uint64_t count(std::atomic<uint64_t>& what, uint64_t since) noexcept;

 private:
  static constexpr uint64_t kLongest = 1 << 17;  // ticks: some 50 us
  uint64_t since_;
};

}  // namespace poireau
