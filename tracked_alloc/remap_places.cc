#include "tracked_alloc/remap_places.h"

#include <algorithm>

#include "preload/base/sys.h"
#include "tracked_alloc/pages.h"

namespace poireau::tracked_alloc::remap::places {
namespace {

constexpr size_t kStep = 256;  // units whose tables are mapped at a time
constexpr size_t kMostRecycled = kUnits;
constexpr int kPatience = 4096;  // turns of other threads, a few milliseconds
// forgotten: used, and who was there is not known any more; forgetting: somebody sees to that. usable: once more.
enum State : uint32_t { unused, used, forgetting, forgotten, usable, retired };

std::atomic<uint64_t>* const recycled =
    reinterpret_cast<std::atomic<uint64_t>*>(region::kRemapTables + (size_t{144} << 30));
constexpr size_t kRecycledSize = kMostRecycled / 8;

constinit std::atomic<size_t> limit{0}, next{1}, usable_units{0}, search{0};
constinit std::atomic<size_t> used_units{0}, forgotten_units{0};
constinit std::atomic<size_t> remembered{0};  // bytes of entries of used units that all have left
/// Units that all have left, in the order in which they did; those that are not there any more are forgotten.
constexpr size_t kMostGone = 8192;
[[gnu::section(".lbss")]] constinit std::atomic<uint32_t> gone[kMostGone]{};
constinit std::atomic<size_t> gone_begin{0}, gone_end{0};
constinit std::atomic<bool> growing{false}, have_recycled{false};
constinit std::atomic<bool> in_vain{false};  // the last wait for a table was
/// For each size of parts the next page in a unit of them; a multiple of kUnitPages: there is none.
constinit std::atomic<size_t> cut[kUnitShift + 1]{};

constexpr size_t kEntriesOfUnit = kUnitPages * sizeof(Entry), kPartsOfUnit = kUnitPages / 4 * sizeof(uint64_t);

bool map_step(size_t unit) noexcept {
  return have_table(reinterpret_cast<uintptr_t>(units + unit), kStep * sizeof(Unit)) &&
         have_table(reinterpret_cast<uintptr_t>(entries) + unit * kEntriesOfUnit, kStep * kEntriesOfUnit) &&
         have_table(reinterpret_cast<uintptr_t>(parts) + unit * kPartsOfUnit, kStep * kPartsOfUnit);
}

/// Whether nobody else has mapped anything here.
bool is_free(uintptr_t begin, size_t size) noexcept {
  void* const got = sys::map_closed_at(reinterpret_cast<void*>(begin), size);
  if (got != nullptr) sys::unmap(got, size);
  return got != nullptr;
}

/// Maps tables for more units than `before`, unless somebody else does just now.
void grow(size_t before) noexcept {
  if (growing.exchange(true, std::memory_order_acquire)) return;
  if (known.load(std::memory_order_relaxed) == before && map_step(before)) {
    const size_t end = std::min(before + kStep, kUnits);
    if (!is_free(kBegin + before * kUnit, (end - before) * kUnit))
      for (size_t unit = before; unit < end; ++unit)
        if (!is_free(kBegin + unit * kUnit, kUnit)) units[unit].state.store(retired, std::memory_order_relaxed);
    known.store(end, std::memory_order_release);
  }
  growing.store(false, std::memory_order_release);
}

/// Long before they are all used, so that nobody has to wait.
bool has_tables(size_t unit) noexcept {
  size_t mapped = known.load(std::memory_order_acquire);
  if (unit + kStep / 2 >= mapped && mapped < kUnits) grow(mapped);
  for (int patience = 0; patience < kPatience; ++patience) {
    const bool somebody_does = growing.load(std::memory_order_acquire);
    mapped = known.load(std::memory_order_acquire);
    if (unit < mapped) return true;
    if (!somebody_does) return false;
    sys::yield();
  }
  return false;
}

/// A unit that was used before, and that nothing points into.
size_t take_recycled() noexcept {
  const size_t words = (known.load(std::memory_order_acquire) + 63) / 64;
  if (usable_units.load(std::memory_order_relaxed) == 0 || words == 0) return 0;
  size_t at = search.load(std::memory_order_relaxed) % words;
  for (size_t left = words; left > 0; --left, at = (at + 1) % words) {
    uint64_t word = recycled[at].load(std::memory_order_acquire);
    while (word != 0) {
      if (!recycled[at].compare_exchange_weak(word, word & (word - 1), std::memory_order_acq_rel)) continue;
      search.store(at, std::memory_order_relaxed);
      usable_units.fetch_sub(1, std::memory_order_relaxed);
      return at * 64 + static_cast<size_t>(std::countr_zero(word));
    }
  }
  return 0;
}

size_t take_unit() noexcept {
  size_t unit = next.load(std::memory_order_relaxed);
  while (unit < limit.load(std::memory_order_relaxed)) {
    if (!has_tables(unit)) return 0;
    if (!next.compare_exchange_weak(unit, unit + 1, std::memory_order_relaxed)) continue;
    if (units[unit].state.load(std::memory_order_relaxed) != retired) break;
    unit = next.load(std::memory_order_relaxed);
  }
  if (unit >= limit.load(std::memory_order_relaxed)) unit = take_recycled();
  if (unit == 0) return 0;
  units[unit].spent.store(0, std::memory_order_relaxed);
  units[unit].state.store(used, std::memory_order_release);
  used_units.fetch_add(1, std::memory_order_relaxed);
  return unit;
}

void make_usable(size_t unit) noexcept {
  units[unit].place.store(0, std::memory_order_release);
  units[unit].state.store(usable, std::memory_order_relaxed);
  used_units.fetch_sub(1, std::memory_order_relaxed);
  usable_units.fetch_add(1, std::memory_order_relaxed);
  recycled[unit / 64].fetch_or(uint64_t{1} << unit % 64, std::memory_order_release);
}

bool drop_entries(size_t unit, size_t count) noexcept {
  return pages::drop(reinterpret_cast<char*>(entries) + unit * kEntriesOfUnit, count * kEntriesOfUnit);
}

bool all_have_left(size_t unit) noexcept { return units[unit].spent.load(std::memory_order_acquire) == kUnitPages; }

bool become(size_t unit, uint32_t from, State to) noexcept {
  return units[unit].state.compare_exchange_strong(from, to, std::memory_order_acq_rel);
}

bool begin_to_forget(size_t unit) noexcept {
  if (!all_have_left(unit) || !become(unit, used, forgetting)) return false;
  if (all_have_left(unit)) return true;
  become(unit, forgetting, used);  // a sweep has come between, and others to this unit
  return false;
}

/// Of a unit whose entries are gone. Returns whether it had parts, which are not needed any more.
bool end_forgetting(size_t unit) noexcept {
  constexpr Place kSomebody{0, 0, shape_for(kPage - 1, 1), kUnitShift};
  static_assert(kShapes[kSomebody.shape()].group == 1);
  const bool had_parts = (units[unit].place.load(std::memory_order_relaxed) & Place::kParts) != 0;
  if (had_parts) units[unit].place.store(kSomebody.word | Place::kGone, std::memory_order_release);
  if (become(unit, forgetting, forgotten)) forgotten_units.fetch_add(1, std::memory_order_relaxed);
  return had_parts;
}

/// The parts of units that share a page of them, if all of these are forgotten, and nobody uses one again meanwhile.
void drop_parts(size_t begin, size_t end) noexcept {
  constexpr size_t kTogether = kPage / kPartsOfUnit;
  for (size_t first = begin / kTogether * kTogether; first < end; first += kTogether) {
    size_t ours = 0;
    while (ours < kTogether && become(first + ours, forgotten, forgetting)) ++ours;
    if (ours == kTogether) pages::drop(reinterpret_cast<char*>(parts) + first * kPartsOfUnit, kPage);
    while (ours > 0) become(first + --ours, forgetting, forgotten);
  }
}

/// Units whose forgetting has begun.
bool forget_range(size_t begin, size_t end) noexcept {
  if (!drop_entries(begin, end - begin)) {
    for (size_t unit = begin; unit < end; ++unit) become(unit, forgetting, used);
    return false;
  }
  remembered.fetch_sub((end - begin) * kEntriesOfUnit, std::memory_order_relaxed);
  bool had_parts = false;
  for (size_t unit = begin; unit < end; ++unit) had_parts |= end_forgetting(unit);
  if (had_parts) drop_parts(begin, end);
  return true;
}

void remember(size_t unit) noexcept {
  remembered.fetch_add(kEntriesOfUnit, std::memory_order_relaxed);
  std::atomic<uint32_t>& slot = gone[gone_end.fetch_add(1, std::memory_order_relaxed) % kMostGone];
  const size_t before = slot.exchange(static_cast<uint32_t>(unit), std::memory_order_acq_rel);
  if (before != 0 && begin_to_forget(before)) static_cast<void>(forget_range(before, before + 1));
}

/// The one that has been gone for longest; 0: perhaps there is none.
size_t take_gone() noexcept {
  size_t begin = gone_begin.load(std::memory_order_relaxed);
  do {
    if (begin == gone_end.load(std::memory_order_relaxed)) return 0;
  } while (!gone_begin.compare_exchange_weak(begin, begin + 1, std::memory_order_relaxed));
  return gone[begin % kMostGone].exchange(0, std::memory_order_acq_rel);
}

}  // namespace

constinit std::atomic<size_t> known{0};

bool have_table(uintptr_t at, size_t size) noexcept {
  const uintptr_t begin = at / kPage * kPage, end = (at + size + kPage - 1) / kPage * kPage;
  void* const place = reinterpret_cast<void*>(begin);
  if (pages::map_plain(place, end - begin, true)) return true;
  // Perhaps another thread is at it, or has not come to the end of it. Who hoped so in vain waits no more: it is memory
  // that is missing.
  bool there = sys::readable(place);
  for (int patience = in_vain.load(std::memory_order_relaxed) ? 0 : kPatience; patience > 0 && !there; --patience) {
    sys::yield();
    there = sys::readable(place);
  }
  in_vain.store(!there, std::memory_order_relaxed);
  return there;
}

void begin(size_t addresses) noexcept {
  const size_t wanted = addresses == 0 ? kUnits : std::min(addresses / kUnit, kUnits);
  limit.store(std::max<size_t>(wanted, 2), std::memory_order_relaxed);
  grow(0);
}

size_t take(unsigned shift) noexcept {
  if (shift == kUnitShift) return take_unit() * kUnitPages;
  const size_t size = size_t{1} << shift;
  size_t page = cut[shift].load(std::memory_order_relaxed);
  for (;;) {
    if (page % kUnitPages != 0) {
      if (cut[shift].compare_exchange_weak(page, page + size, std::memory_order_acq_rel)) return page;
      continue;
    }
    const size_t unit = take_unit();
    if (unit == 0) return 0;
    for (size_t at = 0; at < kUnitPages; at += size)
      parts[(unit * kUnitPages + at) >> kLeastShift].store(0, std::memory_order_relaxed);
    units[unit].place.store(Place::parts(shift).word, std::memory_order_release);
    if (cut[shift].compare_exchange_strong(page, unit * kUnitPages + size, std::memory_order_acq_rel))
      return unit * kUnitPages;
    // Somebody else came first: it is as if all had left.
    units[unit].spent.store(kUnitPages, std::memory_order_release);
    remember(unit);
  }
}

void settle(size_t page, Place place) noexcept {
  if (place.shift() == kUnitShift)
    units[page / kUnitPages].place.store(place.word, std::memory_order_release);
  else
    parts[page >> kLeastShift].store(place.word, std::memory_order_release);
}

void leave(size_t page, unsigned shift) noexcept {
  Unit& unit = units[page / kUnitPages];
  (shift == kUnitShift ? unit.place : parts[page >> kLeastShift]).fetch_or(Place::kGone, std::memory_order_release);
  const uint32_t size = uint32_t{1} << shift;
  if (unit.spent.fetch_add(size, std::memory_order_acq_rel) + size == kUnitPages) remember(page / kUnitPages);
}

void retire(size_t page) noexcept { units[page / kUnitPages].state.store(retired, std::memory_order_relaxed); }

uint64_t recycle(bool (*marked)(uintptr_t address, size_t size) noexcept) noexcept {
  if (!have_recycled.load(std::memory_order_relaxed)) {
    if (!have_table(reinterpret_cast<uintptr_t>(recycled), kRecycledSize)) return 0;
    have_recycled.store(true, std::memory_order_relaxed);
  }
  uint64_t bytes = 0;
  const size_t end = std::min(next.load(std::memory_order_relaxed), known.load(std::memory_order_acquire));
  for (size_t unit = 1; unit < end; ++unit) {
    const uint32_t state = units[unit].state.load(std::memory_order_relaxed);
    if ((state != used && state != forgotten) || !all_have_left(unit)) continue;
    if (marked(kBegin + unit * kUnit, kUnit) || (state == used && !drop_entries(unit, 1))) continue;
    if (state == used)
      remembered.fetch_sub(kEntriesOfUnit, std::memory_order_relaxed);
    else
      forgotten_units.fetch_sub(1, std::memory_order_relaxed);
    make_usable(unit);
    bytes += kUnit;
  }
  return bytes;
}

void forget(size_t most) noexcept {
  constexpr int kAtOnce = 512;
  size_t begin = 0, end = 0;
  const auto finish = [&] { return begin == end || forget_range(begin, end); };
  for (int n = 0; n < kAtOnce; ++n) {
    if (remembered.load(std::memory_order_relaxed) <= most + (end - begin) * kEntriesOfUnit) break;
    const size_t unit = take_gone();
    if (unit == 0 || !begin_to_forget(unit)) continue;
    if (unit != end) {
      if (!finish()) return static_cast<void>(become(unit, forgetting, used));
      begin = unit;
    }
    end = unit + 1;
  }
  static_cast<void>(finish());
}

void forked() noexcept { growing.store(false, std::memory_order_relaxed); }

uint64_t used_bytes() noexcept { return used_units.load(std::memory_order_relaxed) * kUnit; }

uint64_t table_bytes() noexcept {
  const size_t units_used = used_units.load(std::memory_order_relaxed);
  const size_t gone = std::min(units_used, forgotten_units.load(std::memory_order_relaxed));
  return units_used * sizeof(Unit) + (units_used - gone) * kEntriesOfUnit;
}

bool exhausted() noexcept {
  const size_t all = limit.load(std::memory_order_relaxed);
  const size_t left =
      all - std::min(all, next.load(std::memory_order_relaxed)) + usable_units.load(std::memory_order_relaxed);
  return left < all / 4;
}

}  // namespace poireau::tracked_alloc::remap::places
