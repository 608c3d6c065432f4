#include "tracked_alloc/ration.h"

#include <algorithm>
#include <atomic>

namespace poireau::tracked_alloc::ration {
namespace {

constexpr unsigned kClasses = 10;
constexpr uint32_t kWindow = 32;  // homes between two looks at the rate

// What guards may cost when governed: 1/256 of a CPU's time for the smallest homes, 1/4096 for each other size.
constexpr uint64_t share_of(unsigned size_class) noexcept { return size_class == 0 ? 256 : 4096; }
// In ticks: a flip of two guards, and the page faults of a home that comes without memory.
constexpr uint64_t cost_of(size_t pages) noexcept { return 6'000 + 3'000 * pages; }
// As if this much time had passed before the first home.
constexpr uint64_t kHeadStart = uint64_t{1} << 28;

struct Rate {
  std::atomic<uint64_t> since;  // when the window began; 0: no home yet
  std::atomic<uint32_t> homes;  // in it
  std::atomic<uint32_t> chance;
};
constinit Rate rates[kClasses + 1]{};  // the last: of all homes, where the user set a rate

/// `wanted` of `seen`, as a chance.
uint32_t chance_of(uint64_t wanted, uint64_t seen) noexcept {
  if (wanted >= seen) return kAlways;
  return static_cast<uint32_t>((wanted << 32) / seen);
}

}  // namespace

Draw draw(uint64_t mode, unsigned size_class, size_t pages, uint64_t random, uint64_t now, uint64_t ticks_per_second,
          uint64_t share) noexcept {
  if (mode == kNone) return {false, 0};
  if (mode == kAll) return {true, kAlways};
  const bool governed = mode == kGoverned;
  Rate& rate = rates[governed ? std::min(size_class, kClasses - 1) : kClasses];
  // Homes that `ticks` of time allow, in 1/256ths: large ones are few.
  const auto allowed = [&](uint64_t ticks) {
    const uint64_t usual =
        governed ? (ticks << 8) / (share_of(size_class) * cost_of(pages))
                 : static_cast<uint64_t>(static_cast<unsigned __int128>(ticks << 8) * mode / ticks_per_second);
    return usual * share / kWhole;
  };
  uint64_t since = rate.since.load(std::memory_order_relaxed);
  if (since == 0 && rate.since.compare_exchange_strong(since, now))
    rate.chance.store(chance_of(allowed(kHeadStart), kWindow << 8), std::memory_order_relaxed);
  const uint32_t homes = rate.homes.fetch_add(1, std::memory_order_relaxed) + 1;
  if (homes >= kWindow && since != 0 && now > since && rate.since.compare_exchange_strong(since, now)) {
    rate.homes.store(0, std::memory_order_relaxed);
    const uint64_t elapsed = std::min<uint64_t>(now - since, uint64_t{1} << 38);
    rate.chance.store(chance_of(allowed(elapsed), uint64_t{homes} << 8), std::memory_order_relaxed);
  }
  const uint32_t chance = rate.chance.load(std::memory_order_relaxed);
  return {static_cast<uint32_t>(random >> 32) <= chance && chance != 0, chance};
}

}  // namespace poireau::tracked_alloc::ration
