#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_sources.h"

/// Memory given back, of frames whose blocks are all dead, and closed.
namespace poireau::tracked_alloc::remap::runs {
namespace {

constinit std::atomic<bool> trimming{false};

bool is_idle(const Run& run) noexcept {
  unsigned count = 0;
  for (const auto& word : run.free) count += static_cast<unsigned>(std::popcount(word.load(std::memory_order_relaxed)));
  return count == run.blocks;
}

/// Gives the memory of an idle frame back, if nobody opens another run of it meanwhile.
bool strip(Frame& frame) noexcept {
  const uint32_t all = frame.seen + frame.retired.load(std::memory_order_acquire);
  uint32_t opened = all;
  if (!frame.opened.compare_exchange_strong(opened, all | kShut, std::memory_order_acq_rel)) return false;
  // Where a sweep has freed all blocks the engine knows the run still, and would miss the pages.
  bool done = true;
  for (uint32_t n = 0; n < all; ++n) done = engines::let_go(run(frame.first_run + n)) && done;
  done = done && drop_memory(frame);
  for (uint32_t n = 0; done && n < all; ++n) run(frame.first_run + n).filled.store(0, std::memory_order_relaxed);
  frame.opened.store(all, std::memory_order_release);
  return done;
}

size_t trim_shape(unsigned shape, Trim which) noexcept {
  const uint32_t all = pop_all(shape);
  const auto each = [all](auto&& visit) {
    for (uint32_t number = all, next; number != kNone; number = next) {
      Run& listed_run = run(number - 1);
      next = listed_run.next.load(std::memory_order_relaxed);
      visit(listed_run, frames[listed_run.frame]);
    }
  };
  each([](Run&, Frame& frame) { frame.seen = 0; });
  each([](Run& its, Frame& frame) { frame.seen += is_idle(its); });
  size_t stripped = 0;
  each([&](Run&, Frame& frame) {
    if (frame.seen == 0 || frame.touched.load(std::memory_order_relaxed) == 0) return;
    const uint32_t resting = frame.seen + frame.retired.load(std::memory_order_acquire);
    const bool idle = resting == frame.opened.load(std::memory_order_acquire);
    const bool rested = frame.rested.exchange(idle, std::memory_order_relaxed);
    if (idle && (rested || which == Trim::idle)) stripped += strip(frame);
  });
  // Those with memory come to be used first.
  uint32_t with_memory = kNone;
  each([&](Run& its, Frame& frame) {
    if (frame.touched.load(std::memory_order_relaxed) == 0) return push(its);
    its.next.store(with_memory, std::memory_order_relaxed);
    with_memory = number_of(its) + 1;
  });
  for (uint32_t number = with_memory, next; number != kNone; number = next) {
    next = run(number - 1).next.load(std::memory_order_relaxed);
    push(run(number - 1));
  }
  return stripped;
}

}  // namespace

size_t trim_frames(Trim which) noexcept {
  size_t stripped = 0;
  if (trimming.exchange(true, std::memory_order_acquire)) return 0;
  for (unsigned shape = 0; shape < kShapeCount; ++shape) stripped += trim_shape(shape, which);
  trimming.store(false, std::memory_order_release);
  return stripped;
}

void trim_again() noexcept { trimming.store(false, std::memory_order_relaxed); }

}  // namespace poireau::tracked_alloc::remap::runs
