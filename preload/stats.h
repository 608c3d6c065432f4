#pragma once
#include <atomic>
#include <cstdint>

#include "preload/poireau.h"

namespace poireau {

/// Counted on cold paths only. poireau.h says what they mean.
struct Stats {
  std::atomic<uint64_t> samples, sampled_bytes, counted_bytes, early, dropped, deepbinds, namespaces;
  std::atomic<uint64_t> cycles;  // spent on samples
  std::atomic<uint64_t> unplaced[POIREAU_DROPS][POIREAU_SIZE_CLASSES];
};
[[gnu::visibility("hidden")]] extern constinit Stats stats;

}  // namespace poireau
