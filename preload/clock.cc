#include "preload/clock.h"

#include <time.h>

#include <algorithm>
#include <atomic>

#include "preload/base/cpu.h"
#include "preload/sandbox.h"

namespace poireau::clock {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;
constexpr uint64_t kSoon = 1 << 20, kLater = 1 << 28;  // ticks: so long no clock can have been steered far (0.1 s)

struct Moment {
  uint64_t ticks, nanoseconds;
};
constinit Moment start{};
constinit std::atomic<uint64_t> rate{uint64_t{1} << 31};
constinit std::atomic<uint64_t> tick{uint64_t{1} << 31};  // in nanoseconds, times 2^32

/// The latest moment at which both clocks were read: in one of two places, and how often it has changed says in which.
struct Anchor {
  std::atomic<uint64_t> ticks, nanoseconds;
};
constinit Anchor anchors[2]{};
constinit std::atomic<uint32_t> changes{0};
constinit std::atomic<uint64_t> next_look{UINT64_MAX};
constinit std::atomic<bool> changing{false};

uint64_t read(clockid_t which) noexcept {
  timespec time{};
  clock_gettime(which, &time);
  return static_cast<uint64_t>(time.tv_sec) * kSecond + static_cast<uint64_t>(time.tv_nsec);
}

Moment now() noexcept { return {cpu::ticks(), read(CLOCK_MONOTONIC)}; }

// clock_gettime is libc's own, mostly without a system call; mostly is not enough for a filter.
bool may_ask() noexcept { return sandbox::state() <= sandbox::State::inherited; }

__extension__ using Wide = unsigned __int128;

uint64_t in_nanoseconds(uint64_t ticks) noexcept {
  return static_cast<uint64_t>(Wide{ticks} * tick.load(std::memory_order_relaxed) >> 32);
}

[[gnu::cold, gnu::noinline]] void look() noexcept {
  if (!may_ask() || changing.exchange(true, std::memory_order_acquire)) return;
  const Moment moment = now();
  const uint64_t passed = moment.ticks - start.ticks, nanoseconds = moment.nanoseconds - start.nanoseconds;
  if (passed > kSoon / 2 && nanoseconds != 0) {
    rate.store(static_cast<uint64_t>(Wide{passed} * kSecond / nanoseconds), std::memory_order_relaxed);
    tick.store(static_cast<uint64_t>((Wide{nanoseconds} << 32) / passed), std::memory_order_relaxed);
  }
  const uint32_t next = changes.load(std::memory_order_relaxed) + 1;
  anchors[next % 2].ticks.store(moment.ticks, std::memory_order_relaxed);
  anchors[next % 2].nanoseconds.store(moment.nanoseconds, std::memory_order_relaxed);
  changes.store(next, std::memory_order_release);
  next_look.store(moment.ticks + std::clamp(passed, kSoon, kLater), std::memory_order_relaxed);
  changing.store(false, std::memory_order_release);
}

Moment anchor() noexcept {
  Moment got{};
  for (int patience = 0; patience < 4; ++patience) {
    const uint32_t before = changes.load(std::memory_order_acquire);
    got = {anchors[before % 2].ticks.load(std::memory_order_acquire),
           anchors[before % 2].nanoseconds.load(std::memory_order_acquire)};
    if (changes.load(std::memory_order_relaxed) == before) break;
  }
  return got;
}

}  // namespace

uint64_t ticks() noexcept {
  if (sandbox::state() == sandbox::State::strict) return 1;
  const uint64_t now = cpu::ticks();
  if (now >= next_look.load(std::memory_order_relaxed)) [[unlikely]]
    look();
  return now;
}

void begin() noexcept {
  if (!may_ask()) return;
  start = now();
  look();
}

// Another thread may have been about to change something, and is gone.
void forked() noexcept { changing.store(false, std::memory_order_relaxed); }

uint64_t ticks_per_second() noexcept { return rate.load(std::memory_order_relaxed); }

uint64_t nanoseconds(uint64_t ticks) noexcept {
  const Moment known = anchor();
  return ticks >= known.ticks ? known.nanoseconds + in_nanoseconds(ticks - known.ticks)
                              : known.nanoseconds - in_nanoseconds(known.ticks - ticks);
}

uint64_t age() noexcept { return nanoseconds(ticks()) - start.nanoseconds; }

int64_t realtime_offset() noexcept {
  return may_ask() ? static_cast<int64_t>(read(CLOCK_REALTIME) - read(CLOCK_MONOTONIC)) : 0;
}

}  // namespace poireau::clock
