#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/base/cpu.h"
#include "preload/base/random.h"

namespace poireau {

/// A request that was picked, or (period 0) one that was not.
struct Pick {
  uint64_t period = 0;  // the sample stands for 1 / (1 - exp(-size / period)) requests; 1 stands for itself
  uint64_t since = 0;   // bytes requested on this thread since its last sample, this request included
};

/// What the options ask for, as the sampler needs it.
struct Rates {
  uint64_t base;    // period of a caller without a multiplier; 0: sampling is off
  uint64_t finest;  // the smallest period of any caller: candidates are drawn with it
  bool by_calls;    // every call weighs 1, instead of its bytes
  bool by_caller;   // some callers have periods of their own
};

/// Picks each requested byte with probability 1/period. Bytes are tossed one by one in principle; in practice the
/// number of bytes up to the next picked one is drawn (it is exponential), and the hot path counts it down.
///
/// One per thread. All-zero is a valid start: it sends the thread's first request to `confirm`, which draws and then
/// counts this request like any other. At every instruction the state is one a signal handler may count on, or jump
/// out of for ever: the worst that follows is a few bytes counted twice.
class Sampler {
 public:
  /// The cold half of `charge`: called when the count ran below zero, with what was charged.
  /// `caller` is the request's return address.
  [[gnu::cold, gnu::noinline]] Pick confirm(uint64_t size, const void* caller, const Rates& now) noexcept;

  /// Takes back a request that came to nothing, and what `confirm` said of it.
  void refund(uint64_t size, const Pick& pick) noexcept { since_ += pick.since - weight(size); }

  /// Forgets all that was drawn and counted: the thread is another one now (a fork child's).
  void restart() noexcept { *this = Sampler(); }

  /// Draws from here on are those of `seed`.
  void seed(uint64_t seed) noexcept {
    random_.state = seed;
    seeded_ = true;
  }
  [[nodiscard]] bool seeded() const noexcept { return seeded_; }

  /// Leaves the count at zero, so that the thread's next request comes to `confirm` too.
  void stay_cold() noexcept { gap_ = 0; }

  /// A request of no bytes counts as one, or it could never be picked.
  static constexpr uint64_t weight(uint64_t size) noexcept { return size + (size == 0); }

  /// The hot path's count never starts above this: so often a thread looks whether the options have changed.
  static constexpr uint32_t kLongestGap = 16 << 20;

 private:
  [[nodiscard]] bool keep(uint64_t period, uint64_t rest_of_request) noexcept;
  void draw(const Rates& now) noexcept;
  void load_gap() noexcept;

  uint64_t gap_ = 0;         // bytes the hot path may still pass; first, see `gap_offset`
  uint64_t rest_ = 0;        // what follows it up to the next sample point: bytes, or calls
  uint64_t since_ = 0;       // bytes requested since the last sample, up to when gap_ was loaded
  uint64_t drawn_with_ = 0;  // the finest period in force at the last draw; 0: sampling was off
  Random random_;
  uint32_t loaded_ = 0;  // what gap_ started from
  bool by_calls_ = false;
  bool seeded_ = false;
};
/// This thread's sampler.
[[gnu::tls_model("initial-exec"), gnu::visibility("hidden")]] extern constinit thread_local Sampler sampler;

/// Where `sampler` lies from the thread pointer, so that the hot path needs one load and no relocation.
[[gnu::visibility("hidden")]] extern constinit ptrdiff_t gap_offset;

/// Counts `size` bytes; true when a sample point may lie in them. Then ask `sampler.confirm`.
inline bool charge(size_t size) noexcept { return cpu::count_down(gap_offset, size); }

}  // namespace poireau
