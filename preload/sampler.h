#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/base/cpu.h"
#include "preload/base/random.h"

namespace poireau {

/// What the options ask for, as the sampler needs it.
struct Rates {
  uint64_t base;             // period of a caller without a multiplier; 0: sampling is off
  uint64_t finest;           // the smallest period of any caller: candidates are drawn with it
  bool by_calls;             // every call weighs 1, instead of its bytes
  bool by_caller;            // some callers have periods of their own
  uint64_t step = 16 << 20;  // so much passes, at most, before the thread asks again; never more than this
};

/// Picks each requested byte with probability 1/period. Bytes are tossed one by one in principle; in practice the
/// number of bytes up to the next picked one is drawn (it is exponential), and the hot path counts it down. A request
/// that needs more than is left comes to the cold path, uncounted: `confirm` says whether it is picked, `count` counts
/// it once it has been granted.
///
/// One per thread. All-zero is a valid start: it sends the thread's first request to `confirm`, which draws and then
/// tests this request like any other. Signal handlers may make requests at any instruction: `confirm` starts over when
/// it finds that somebody was there meanwhile, and between its last instructions the worst that they can do is to have
/// a few bytes counted twice. A handler may also leave for ever (siglongjmp), and the thread goes on as if the
/// interrupted request had not been. But if it leaves between the hot path's count and `uncharge`, three instructions
/// later, or before `confirm` when another handler's requests came just there, the thread is not sampled any more. To
/// close that gap costs an instruction on every malloc.
class Sampler {
 public:
  /// The period that picks a request of `size` bytes, or 0. `caller` is its return address. A pick stands for
  /// 1 / (1 - exp(-size / period)) requests, by calls for 1 / (1 - exp(-1 / period)); at period 1 for itself.
  [[gnu::cold, gnu::noinline]] uint64_t confirm(uint64_t size, const void* caller, const Rates& now) noexcept;

  /// Whether the period of the last pick counts calls.
  [[nodiscard]] bool picked_by_calls() const noexcept { return picked_by_calls_; }

  /// Whether a handler's requests came between the hot path's count and its being taken back: they passed untested.
  [[nodiscard]] bool overrun() const noexcept { return gap_ > kLongestGap; }

  /// Counts a request that `confirm` was asked about and that was granted.
  void count(uint64_t size) noexcept { account_ += weight(size); }
  /// Takes back one that the hot path counted, for nothing.
  void refund(uint64_t size) noexcept { account_ -= weight(size); }

  /// The bytes counted since the last sample.
  [[nodiscard]] uint64_t since() const noexcept { return account_ - gap_; }
  /// Here is one.
  uint64_t take_since() noexcept {
    const uint64_t counted = since();
    account_ -= counted;
    return counted;
  }

  /// Forgets all that was drawn and counted: the thread is another one now (a fork child's).
  void restart(uint64_t seed) noexcept;
  /// Draws from here on are those of `seed`.
  void seed(uint64_t seed) noexcept {
    random_.state = seed;
    seeded_ = true;
  }
  [[nodiscard]] bool seeded() const noexcept { return seeded_; }

  /// A request of no bytes counts as one, or it could never be picked.
  static constexpr uint64_t weight(uint64_t size) noexcept { return size + (size == 0); }

  /// Changes whenever a request is counted or tested on this thread.
  struct Mark {
    uint64_t gap, version;
    bool operator==(const Mark&) const = default;
  };

  /// The hot path's count never starts above this.
  static constexpr uint64_t kLongestGap = Rates{}.step;

 private:
  [[nodiscard]] bool keep(uint64_t period, uint64_t drawn_with, uint64_t rest_of_request) noexcept;
  [[nodiscard]] uint64_t draw(uint64_t period) noexcept;

  friend Sampler::Mark mark() noexcept;

  uint64_t gap_ = 0;         // bytes the hot path may still pass; first, see `gap_offset`
  uint64_t rest_ = 0;        // what follows it up to the next sample point: bytes, or calls
  uint64_t account_ = 0;     // minus gap_: bytes since the last sample; so the hot path counts them too
  uint64_t drawn_with_ = 0;  // the finest period in force at the last draw; 0: nothing is drawn
  Random random_;
  uint32_t version_ = 0;  // counts the changes of all this
  bool by_calls_ = false, picked_by_calls_ = false;
  bool seeded_ = false;
};

/// This thread's sampler.
[[gnu::tls_model("initial-exec"), gnu::visibility("hidden")]] extern constinit thread_local Sampler sampler;

/// Where `sampler` lies from the thread pointer, so that the hot path needs one load and no relocation.
[[gnu::visibility("hidden")]] extern constinit ptrdiff_t gap_offset;

/// Counts `size` bytes; true when a sample point may lie in them. Then `uncharge` at once, and ask `sampler.confirm`.
inline bool charge(size_t size) noexcept { return cpu::count_down(gap_offset, size); }
inline Sampler::Mark mark() noexcept {
  static_assert(offsetof(Sampler, gap_) == 0 && offsetof(Sampler, version_) % sizeof(uint64_t) == 0);
  return {cpu::load_thread_word(gap_offset),
          cpu::load_thread_word(gap_offset + ptrdiff_t{offsetof(Sampler, version_)})};
}
inline void uncharge(size_t size) noexcept { cpu::count_up(gap_offset, size); }

}  // namespace poireau
