#include "tracked_alloc/cache.h"

#include "tracked_alloc/ring.h"

namespace poireau::tracked_alloc::cache {
namespace {

using region::Id;

constexpr size_t kSlots = 64;  // of each class
constexpr size_t kYoung = 16;  // so many others are freed before a slot is used again
constexpr size_t kGibHomes = 16;
constexpr uint64_t kAge = uint64_t{1} << 32;  // ticks: one to two seconds

[[gnu::section(".lbss")]] constinit Ring::Cell cells[region::kClasses][kSlots]{};
constinit Ring slots[region::kClasses] = {{cells[0], kSlots}, {cells[1], kSlots}, {cells[2], kSlots},
                                          {cells[3], kSlots}, {cells[4], kSlots}, {cells[5], kSlots},
                                          {cells[6], kSlots}, {cells[7], kSlots}, {cells[8], kSlots}};
constinit Ring::Cell gibs[kGibHomes]{};
constinit std::atomic<size_t> held{0};
constinit std::atomic<uint32_t> looked_at{0};  // whose turn it is to be too old

size_t size_of(Id id) noexcept { return region::record_of(id).pages * region::kPage; }

// In the array of GiB homes a number has the home's turn above it: the same home may come back as another size between
// one look and the next.
constexpr unsigned kNumberBits = 40;
static_assert(Id{region::kGibArea, UINT32_MAX}.packed() >> kNumberBits == 0);

uint64_t with_turn(Id id) noexcept {
  return uint64_t{region::record_of(id).state_and_turn.load() >> 8} << kNumberBits | id.packed();
}
Id id_in(uint64_t number) noexcept { return Id::unpack(number & ((uint64_t{1} << kNumberBits) - 1)); }

/// What has come out of a ring or an array is ours alone.
bool claim(uint64_t number, Id& out) noexcept {
  if (number == 0) return false;
  out = id_in(number);
  held.fetch_sub(size_of(out), std::memory_order_relaxed);
  return region::become(region::record_of(out), State::freed, State::busy);
}

void send_away(uint64_t number, Leaving& leaving) noexcept {
  if (claim(number, leaving.homes[leaving.count])) ++leaving.count;
}

/// One that has been there too long, a different ring each time.
uint64_t too_old(uint64_t now) noexcept {
  const size_t turn = looked_at.fetch_add(1, std::memory_order_relaxed) % (region::kClasses + kGibHomes);
  Ring::Cell* const gib = turn < region::kClasses ? nullptr : &gibs[turn - region::kClasses];
  uint64_t number = gib == nullptr ? slots[turn].oldest() : gib->load();
  if (number == 0 || now - region::record_of(id_in(number)).death.time <= kAge) return 0;
  if (gib == nullptr) return slots[turn].pop();
  return gib->compare_exchange_strong(number, 0) ? number : 0;
}

/// One of the GiB homes, another each time; 0: there is none.
uint64_t any_gib() noexcept {
  const uint32_t start = looked_at.fetch_add(1, std::memory_order_relaxed);
  for (uint32_t i = 0; i < kGibHomes; ++i)
    if (const uint64_t number = gibs[(start + i) % kGibHomes].exchange(0); number != 0) return number;
  return 0;
}

}  // namespace

Leaving put(Id id, size_t limit, uint64_t now) noexcept {
  Leaving leaving;
  const size_t size = size_of(id);
  const uint64_t number = id.area == region::kGibArea ? with_turn(id) : id.packed();
  if (size > limit) {
    held.fetch_add(size, std::memory_order_relaxed);
    send_away(number, leaving);
    return leaving;
  }
  if (held.fetch_add(size, std::memory_order_relaxed) + size > limit)
    send_away(any_gib(), leaving);  // the newest is the likeliest to be wanted again
  else
    send_away(too_old(now), leaving);
  if (held.load(std::memory_order_relaxed) > limit) {
    send_away(number, leaving);
    return leaving;
  }
  if (id.area != region::kGibArea) {
    send_away(slots[id.area / 2].push(number), leaving);
    return leaving;
  }
  for (Ring::Cell& gib : gibs)
    if (uint64_t none = 0; gib.compare_exchange_strong(none, number)) return leaving;
  send_away(gibs[id.index % kGibHomes].exchange(number), leaving);
  return leaving;
}

bool take_slot(unsigned size_class, Id& out) noexcept {
  const size_t young = region::slot_pages(region::area_of(size_class, false)) <= 4 ? kYoung : 2;
  return claim(slots[size_class].pop(young), out);
}

bool take_gib(size_t pages, size_t alignment, Id& out) noexcept {
  for (;;) {
    Ring::Cell* best = nullptr;
    uint64_t chosen = 0;
    size_t smallest = 2 * pages;
    for (Ring::Cell& gib : gibs) {
      const uint64_t number = gib.load();
      if (number == 0) continue;
      const Record& record = region::record_of(id_in(number));
      if (record.pages < pages || record.pages >= smallest ||
          (record.home + region::kMarginPages * region::kPage) % alignment != 0)
        continue;
      smallest = record.pages;
      best = &gib;
      chosen = number;
    }
    if (best == nullptr) return false;
    if (best->compare_exchange_strong(chosen, 0)) return claim(chosen, out);
  }
}

size_t bytes() noexcept { return held.load(std::memory_order_relaxed); }

}  // namespace poireau::tracked_alloc::cache
