#include "preload/base/sys.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_block.h"
#include "tracked_alloc/remap_engine.h"

/// Pages that are opened once more.
namespace poireau::tracked_alloc::remap {
namespace {

constexpr size_t kPage = region::kPage;

/// What the block held is another's by now, or nobody's: others pages take their place, and stay.
bool cover(const places::Spot& spot) noexcept {
  const size_t pages = kShapes[spot.place.shape()].group;
  void* const at = reinterpret_cast<void*>(places::address_of(spot.group));
  places::retire(spot.group);
  if (arena::sealed() || !arena::take_mapping(pages)) return false;
  if (sys::map_at(at, pages * kPage) != nullptr) return true;
  arena::give_mapping_back(pages);
  return sys::readable(at);  // another thread has done it
}

}  // namespace

bool open_for_good(uintptr_t address) noexcept {
  const places::Spot spot = owns(address) ? places::spot_of(address) : places::Spot{};
  if (!spot.place.there()) return false;
  places::Entry& entry = places::entries[spot.group];
  if (spot.place.gone()) {
    if (!cover(spot)) return false;
    entry.died.fetch_or(places::kShown, std::memory_order_release);
    return true;
  }
  uint64_t died = entry.died.load(std::memory_order_acquire);
  if ((died & places::kClosed) == 0) return true;
  runs::Run& run = runs::run(spot.place.run());
  // Pinned, and never buried: the run stays where it is.
  if (!runs::pin(run)) return false;
  if (places::spot_of(address).place.gone()) {  // by now, and what is pinned is others'
    static_cast<void>(runs::bury(run));
    return open_for_good(address);
  }
  // Of threads that want it at once one does it; the others come back here if they are faster.
  const bool first = entry.died.compare_exchange_strong(died, (died & ~uint64_t{places::kClosed}) | places::kShown);
  if (first && engines::open(run, spot.number)) return true;
  if (first) entry.died.store(died, std::memory_order_release);
  static_cast<void>(runs::bury(run));
  return !first && (died & places::kClosed) == 0;
}

bool open_again(uintptr_t address) noexcept {
  const places::Spot spot = owns(address) ? places::spot_of(address) : places::Spot{};
  if (!spot.place.there() || spot.place.gone()) return false;
  if ((places::entries[spot.group].died.load(std::memory_order_acquire) & places::kClosed) != 0) return false;
  if (runs::run(spot.place.run()).engine.load(std::memory_order_acquire) == runs::strange) return true;
  return !arena::sealed() && engines::kind().open(reinterpret_cast<void*>(address & -kPage), kPage);
}

}  // namespace poireau::tracked_alloc::remap
