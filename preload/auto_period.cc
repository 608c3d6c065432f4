#include "preload/auto_period.h"

#include <atomic>

#include "config/options.h"

namespace poireau::auto_period {
namespace {

constexpr unsigned kUnknown = kMost + 1;  // until the first sample: no other period is in force before it
constinit std::atomic<uint64_t> samples{0};
constinit std::atomic<unsigned> each{kUnknown};

bool by_calls() noexcept { return options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls; }
uint64_t longest() noexcept { return by_calls() ? kMostCalls : kLongest; }

}  // namespace

uint64_t now() noexcept {
  return after(samples.load(std::memory_order_relaxed), each.load(std::memory_order_relaxed), by_calls());
}

bool grows() noexcept { return now() < longest(); }

bool count(uint64_t before) noexcept {
  if (options.sample_period.load(std::memory_order_relaxed) != kAutoPeriod || !grows()) return false;
  unsigned doublings = kUnknown;
  const unsigned found = of_each(before);
  if (each.compare_exchange_strong(doublings, found, std::memory_order_relaxed)) doublings = found;
  const uint64_t last = (uint64_t{1} << doublings) - 1;
  return (samples.fetch_add(1, std::memory_order_relaxed) & last) == last;
}

void start_over() noexcept {
  samples.store(0, std::memory_order_relaxed);
  each.store(kMost, std::memory_order_relaxed);
}

}  // namespace poireau::auto_period
