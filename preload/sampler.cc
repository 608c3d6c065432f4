#include "preload/sampler.h"

#include <algorithm>
#include <atomic>

#include "preload/callers.h"
#include "preload/exponential.h"

namespace poireau {

constinit thread_local Sampler sampler;
constinit ptrdiff_t gap_offset = cpu::kUnusedThreadWord;

Pick Sampler::confirm(uint64_t size, const void* caller, const Rates& now) noexcept {
  const bool first = loaded_ == 0 && drawn_with_ == 0;
  const uint64_t bytes = weight(size);
  uint64_t before = first ? 0 : gap_ + bytes;  // what the hot path had left when this request came
  since_ += loaded_ - before + bytes;
  if (before > loaded_) before = 0;  // less than nothing: a signal handler came between the hot path and us

  // From here to the end a signal handler that allocates counts down a gap of its own.
  gap_ = kLongestGap;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  loaded_ = kLongestGap;

  // Nothing had been drawn, so nothing was due: count this request against the new gap. Taking it instead would
  // sample the first allocation of every thread.
  if (first) draw(now);
  const uint64_t step = by_calls_ ? 1 : bytes;
  const uint64_t until_hit = by_calls_ ? rest_ : before + rest_;
  const bool hit = drawn_with_ != 0 && step > until_hit;

  Pick pick;
  if (hit && now.base != 0) {
    const uint64_t wanted = now.by_caller ? callers::period_of(caller, now.base) : now.base;
    const uint64_t period = std::max(wanted, drawn_with_);  // the options may have changed since the draw
    if (keep(period, step - until_hit - 1)) pick = {period, since_};
  }
  if (hit || drawn_with_ == 0 || now.finest != drawn_with_ || (now.by_calls && now.finest > 1) != by_calls_)
    draw(now);  // without a hit the old gap may go: an exponential one has no memory
  else
    rest_ = until_hit - step;

  load_gap();
  if (pick.period != 0) since_ = 0;
  return pick;
}

bool Sampler::keep(uint64_t period, uint64_t rest_of_request) noexcept {
  // The candidate's byte was picked at the finest period. It is picked at `period` too with the ratio of the two
  // probabilities; otherwise the request may still be picked for one of the bytes that follow.
  if (period == drawn_with_) return true;
  if (period == callers::kNever) return false;
  uint64_t toss = random_.next();
  if (drawn_with_ > 1) toss = multiply_high(2 * hit_in_one_byte(drawn_with_), toss);
  if (toss < 2 * hit_in_one_byte(period)) return true;
  return exponential(period, [this] { return random_.next(); }) < rest_of_request;
}

void Sampler::draw(const Rates& now) noexcept {
  drawn_with_ = now.finest;
  by_calls_ = now.by_calls && now.finest > 1;
  if (drawn_with_ == 0)
    rest_ = uint64_t{1} << 62;
  else if (drawn_with_ == 1)
    rest_ = 0;  // every call
  else
    rest_ = exponential(drawn_with_, [this] { return random_.next(); });
}

void Sampler::load_gap() noexcept {
  const auto gap = by_calls_ ? 0 : static_cast<uint32_t>(std::min<uint64_t>(rest_, kLongestGap));
  if (!by_calls_) rest_ -= gap;
  const uint64_t by_handlers = kLongestGap - gap_, passed = std::min<uint64_t>(by_handlers, gap);
  since_ += by_handlers - passed;
  loaded_ = gap;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  gap_ = gap - passed;
}

}  // namespace poireau
