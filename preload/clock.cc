#include "preload/clock.h"

#include <time.h>

#include <atomic>

#include "preload/base/cpu.h"
#include "preload/sandbox.h"

namespace poireau::clock {
namespace {

struct Moment {
  uint64_t ticks, nanoseconds;
};
constinit Moment start{};
constinit std::atomic<uint64_t> rate{uint64_t{1} << 31}, measured_at{0};

Moment now() noexcept {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return {cpu::ticks(), static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec)};
}

}  // namespace

uint64_t ticks() noexcept { return sandbox::state() == sandbox::State::strict ? 1 : cpu::ticks(); }

void begin() noexcept {
  if (sandbox::state() == sandbox::State::open) start = now();
}

uint64_t ticks_per_second() noexcept {
  const uint64_t elapsed = ticks() - start.ticks;
  if (elapsed < 2 * measured_at.load(std::memory_order_relaxed) || elapsed < (1 << 20) || start.ticks == 0 ||
      sandbox::state() != sandbox::State::open)
    return rate.load(std::memory_order_relaxed);
  const Moment moment = now();
  const uint64_t passed = moment.ticks - start.ticks, nanoseconds = moment.nanoseconds - start.nanoseconds;
  if (nanoseconds != 0)
    rate.store(static_cast<uint64_t>(static_cast<unsigned __int128>(passed) * 1'000'000'000 / nanoseconds),
               std::memory_order_relaxed);
  measured_at.store(passed, std::memory_order_relaxed);
  return rate.load(std::memory_order_relaxed);
}

}  // namespace poireau::clock
