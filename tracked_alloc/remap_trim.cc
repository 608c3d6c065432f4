#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_sources.h"

/// Memory, addresses and page tables given back, of runs that nobody has been given a block of.
namespace poireau::tracked_alloc::remap::runs {
namespace {

constinit std::atomic<bool> trimming{false};

bool is_idle(const Run& run) noexcept {
  unsigned count = 0;
  for (const auto& word : run.free) count += static_cast<unsigned>(std::popcount(word.load(std::memory_order_relaxed)));
  return count == run.blocks;
}

/// It is listed, and out of everybody's reach but a sweep's. False: it is needed still.
bool give_back(Run& run, Trim which) noexcept {
  const bool idle = is_idle(run), rested = run.rested.exchange(idle, std::memory_order_relaxed);
  uint64_t now = standing(listed, run.blocks);
  if (!idle || (!rested && which == Trim::rested) ||
      !run.standing.compare_exchange_strong(now, standing(moving, 0), std::memory_order_acq_rel))
    return false;
  if (engines::let_go(run) && retire(run)) return close_slot(run), true;
  run.standing.store(standing(listed, run.blocks), std::memory_order_release);
  return false;
}

}  // namespace

bool much_is_idle() noexcept {
  constexpr uint64_t kSpare = 1 << 20;
  return slabs::physical.load(std::memory_order_relaxed) >
         sums.handed.load(std::memory_order_relaxed) + live_bytes() / 4 + kSpare;
}

void trim_runs(Trim which) noexcept {
  if (trimming.exchange(true, std::memory_order_acquire)) return;
  for (unsigned shape = 0; shape < kShapeCount; ++shape)
    for (uint32_t number = pop_all(shape), next; number != kNone; number = next) {
      Run& its = run(number - 1);
      next = its.next.load(std::memory_order_relaxed);
      if (!give_back(its, which)) push(its);
    }
  slabs::drop_unused();
  trimming.store(false, std::memory_order_release);
}

void trim_again() noexcept { trimming.store(false, std::memory_order_relaxed); }

}  // namespace poireau::tracked_alloc::remap::runs
