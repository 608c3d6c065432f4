#include "preload/auto_period.h"

#include <atomic>

#include "config/options.h"

namespace poireau::auto_period {
namespace {

constinit std::atomic<uint64_t> samples{0};

bool by_calls() noexcept { return options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls; }
uint64_t longest() noexcept { return by_calls() ? kMostCalls : kLongest; }

}  // namespace

uint64_t now() noexcept { return after(samples.load(std::memory_order_relaxed), by_calls()); }

bool grows() noexcept { return now() < longest(); }

bool count() noexcept {
  if (options.sample_period.load(std::memory_order_relaxed) != kAutoPeriod || !grows()) return false;
  const uint64_t before = samples.fetch_add(1, std::memory_order_relaxed);
  return before % kSamplesOfEach == kSamplesOfEach - 1;
}

void start_over() noexcept { samples.store(0, std::memory_order_relaxed); }

}  // namespace poireau::auto_period
