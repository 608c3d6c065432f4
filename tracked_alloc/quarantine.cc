#include "tracked_alloc/quarantine.h"

#include <algorithm>

#include "preload/base/sys.h"
#include "tracked_alloc/headroom.h"
#include "tracked_alloc/ring.h"

namespace poireau::tracked_alloc::quarantine {
namespace {

constexpr size_t kFew = 64, kMany = 1 << 20;
constexpr size_t kGibs = 2048;  // of the 11264 that there are

constinit Ring::Cell few_cells[kFew]{};
constinit Ring few{few_cells, kFew};
constinit Ring many{nullptr, kMany};
[[gnu::section(".lbss")]] constinit Ring::Cell gib_cells[kGibs]{};
constinit Ring gibs{gib_cells, kGibs};
constinit std::atomic<int> room{0};  // 0: not asked for yet; 1: being asked for, or there is none; 2: there
constinit std::atomic<size_t> held{0};
constinit std::atomic<uint32_t> inside[region::kGibArea + 1]{};

/// The large ring, if there is memory for it (the kernel gives it page by page, as it fills).
Ring& ring() noexcept {
  if (room.load(std::memory_order_acquire) == 2) return many;
  int none = 0;
  if (!room.compare_exchange_strong(none, 1)) return none == 2 ? many : few;
  constexpr size_t kSize = kMany * sizeof(Ring::Cell);
  if (!headroom::take(kSize)) return few;
  void* const cells = sys::map(kSize);
  if (cells == nullptr) {
    headroom::give_back(kSize);
    return few;
  }
  many.use(static_cast<Ring::Cell*>(cells));
  room.store(2, std::memory_order_release);
  return many;
}

/// When its oldest came; UINT64_MAX: it is empty.
uint64_t since(const Ring& homes) noexcept {
  const uint64_t first = homes.oldest();
  return first == 0 ? UINT64_MAX : region::record_of(region::Id::unpack(first)).death.time;
}

void leave(uint64_t number) noexcept {
  const region::Id id = region::Id::unpack(number);
  Record& record = region::record_of(id);
  held.fetch_sub(record.pages * region::kPage, std::memory_order_relaxed);
  inside[id.area].fetch_sub(1, std::memory_order_relaxed);
  if (region::become(record, State::freed, State::busy))
    region::give_back(id, record.exposed.load(std::memory_order_relaxed));
}

}  // namespace

void enter(region::Id id, const Limits& limits, uint64_t now) noexcept {
  Ring& slots = ring();
  held.fetch_add(region::record_of(id).pages * region::kPage, std::memory_order_relaxed);
  inside[id.area].fetch_add(1, std::memory_order_relaxed);
  Ring& own = id.area == region::kGibArea ? gibs : slots;
  if (const uint64_t pushed_out = own.push(id.packed()); pushed_out != 0) leave(pushed_out);
  for (int most = 0; most < 16; ++most) {  // a lowered limit is met over a few turns
    const uint64_t slot_since = since(slots), gib_since = since(gibs);
    const bool over = slots.size() + gibs.size() > limits.homes ||
                      held.load(std::memory_order_relaxed) > limits.bytes ||
                      (limits.ticks != 0 && now - std::min({now, slot_since, gib_since}) > limits.ticks);
    if (!over) return;
    const uint64_t oldest = (slot_since <= gib_since ? slots : gibs).pop();
    if (oldest == 0) return;
    leave(oldest);
  }
}

bool make_room(unsigned area) noexcept {
  const uint32_t before = inside[area].load(std::memory_order_relaxed);
  constexpr uint32_t kAtATime = 32;  // more than one, so that who draws at random finds one soon
  const uint32_t after = before - std::min(before, kAtATime);
  while (inside[area].load(std::memory_order_relaxed) > after) {
    const uint64_t oldest = ring().pop();
    if (oldest == 0) return false;
    leave(oldest);
  }
  return before != 0;
}

size_t bytes() noexcept { return held.load(std::memory_order_relaxed); }
size_t homes() noexcept { return ring().size() + gibs.size(); }

}  // namespace poireau::tracked_alloc::quarantine
