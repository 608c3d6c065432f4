#include "preload/protect_budget.h"

#include <algorithm>

#include "preload/base/sys.h"
#include "preload/sandbox.h"

namespace poireau::protect {
namespace {

/// Nanoseconds; 0: the kernel may not be asked.
uint64_t cpu_time() noexcept { return sandbox::state() == sandbox::State::open ? sys::cpu_time() : 0; }

uint64_t in_ticks(uint64_t nanoseconds) noexcept {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(nanoseconds) * clock::ticks_per_second() / 1'000'000'000);
}

}  // namespace

int64_t Budget::most() const noexcept { return static_cast<int64_t>(in_ticks(first_ * 1000)); }

void Budget::begin() noexcept {
  seen_at_.store(clock::ticks(), std::memory_order_relaxed);
  seen_use_.store(cpu_time(), std::memory_order_relaxed);
  left_.store(most(), std::memory_order_relaxed);
}

void Budget::refill(uint64_t now) noexcept {
  const uint64_t seen = seen_at_.load(std::memory_order_relaxed), passed = now - seen;
  if (now < seen || passed < clock::ticks_per_second() / 200) return;  // the kernel is asked now and then
  seen_at_.store(now, std::memory_order_relaxed);
  const uint64_t use = cpu_time();
  const uint64_t used = use == 0 ? passed : in_ticks(use - seen_use_.exchange(use, std::memory_order_relaxed));
  const int64_t earned = static_cast<int64_t>(std::min(used, uint64_t{1} << 40) * share_ / 1'000'000);
  const int64_t left = left_.load(std::memory_order_relaxed);
  // Not more than there is room for, whatever is spent meanwhile.
  left_.fetch_add(std::clamp<int64_t>(most() - left, 0, earned), std::memory_order_relaxed);
}

}  // namespace poireau::protect
