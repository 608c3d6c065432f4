#include "preload/sampler.h"

#include <algorithm>
#include <atomic>

#include "preload/callers.h"
#include "preload/exponential.h"

namespace poireau {

constinit thread_local Sampler sampler;
constinit ptrdiff_t gap_offset = cpu::kUnusedThreadWord;

namespace {

/// A signal handler sees what is above done, and nothing of what is below.
void signal_fence() noexcept { std::atomic_signal_fence(std::memory_order_seq_cst); }

constexpr uint64_t kNowhere = uint64_t{1} << 62;  // bytes to the next sample point while sampling is off

}  // namespace

uint64_t Sampler::confirm(uint64_t size, const void* caller, const Rates& now) noexcept {
  const bool by_calls_now = now.by_calls && now.finest > 1;
  if (overrun()) {  // nobody may leave the thread like that
    account_ -= gap_;
    gap_ = 0;
  }
  for (;;) {
    const uint32_t version = version_;
    signal_fence();
    const uint64_t gap = gap_;
    const bool drawn = drawn_with_ != 0;
    const uint64_t drawn_with = drawn ? drawn_with_ : now.finest;
    const bool by_calls = drawn ? by_calls_ : by_calls_now;
    // Nothing drawn, nothing due: this request is tested against a new gap. Taking it instead would sample the first
    // allocation of every thread.
    const uint64_t until_hit = drawn ? gap + rest_ : draw(drawn_with);
    const uint64_t step = by_calls ? 1 : weight(size);
    const bool hit = drawn_with != 0 && step > until_hit;

    uint64_t picked_by = 0;
    if (hit && now.base != 0) {
      const uint64_t wanted = now.by_caller ? callers::period_of(caller, now.base) : now.base;
      const uint64_t period = std::max(wanted, drawn_with);  // the options may have changed since the draw
      if (keep(period, drawn_with, step - until_hit - 1)) picked_by = period;
    }
    // Without a hit the gap may go all the same: an exponential one has no memory.
    const bool redraw = hit || drawn_with == 0 || now.finest != drawn_with || by_calls_now != by_calls;
    const uint64_t ahead = redraw ? draw(now.finest) : until_hit - step;
    const uint64_t next_gap = by_calls_now ? 0 : std::min(ahead, now.step);

    signal_fence();
    if (version_ != version) continue;  // a handler's requests came between, or a fork
    ++version_;
    if (picked_by != 0) picked_by_calls_ = by_calls;
    rest_ = ahead - next_gap;
    drawn_with_ = now.finest;
    by_calls_ = by_calls_now;
    account_ += next_gap - gap;
    signal_fence();
    gap_ += next_gap - gap;  // less what a handler has counted down meanwhile
    if (gap_ > next_gap) {   // more than there was
      account_ -= gap_;
      gap_ = 0;
    }
    return picked_by;
  }
}

bool Sampler::keep(uint64_t period, uint64_t drawn_with, uint64_t rest_of_request) noexcept {
  // The candidate's byte was picked at the finest period. It is picked at `period` too with the ratio of the two
  // probabilities; otherwise the request may still be picked for one of the bytes that follow.
  if (period == drawn_with) return true;
  if (period == callers::kNever) return false;
  uint64_t toss = random_.next();
  if (drawn_with > 1) toss = multiply_high(2 * hit_in_one_byte(drawn_with), toss);
  if (toss < 2 * hit_in_one_byte(period)) return true;
  return exponential(period, [this] { return random_.next(); }) < rest_of_request;
}

uint64_t Sampler::draw(uint64_t period) noexcept {
  if (period == 0) return kNowhere;
  if (period == 1) return 0;  // every call
  return exponential(period, [this] { return random_.next(); });
}

void Sampler::restart(uint64_t seed) noexcept {
  const uint32_t version = version_ + 1;
  *this = Sampler();
  version_ = version;
  this->seed(seed);
}

}  // namespace poireau
