#pragma once
#include <atomic>
#include <cstdint>

#include "preload/clock.h"
#include "preload/poireau.h"

namespace poireau {

/// Counted on cold paths only. poireau.h says what they mean.
struct Stats {
  std::atomic<uint64_t> samples, sampled_bytes, counted_bytes, early, dropped, deepbinds, namespaces;
  std::atomic<uint64_t> cycles;    // spent on samples
  std::atomic<uint64_t> overlong;  // of those, what went beyond kLongest: mostly waits for a processor
  std::atomic<uint64_t> unplaced[POIREAU_DROPS][POIREAU_SIZE_CLASSES];
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
  uint64_t pause() const noexcept { return count(since_); }
  void go_on(uint64_t since) noexcept { since_ = since; }

  /// What has happened since then; returns the time.
  static uint64_t count(uint64_t since) noexcept;

 private:
  static constexpr uint64_t kLongest = 1 << 17;  // ticks: some 50 us
  uint64_t since_;
};

}  // namespace poireau
