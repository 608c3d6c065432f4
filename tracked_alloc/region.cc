#include "tracked_alloc/region.h"

#include <algorithm>
#include <optional>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/headroom.h"

namespace poireau::tracked_alloc::region {
namespace {

constexpr size_t kAreaSize = kTib / 2;
constexpr size_t kChunks = kAreaSize / kChunk;
constexpr size_t kTableOfChunk = sizeof(Record) << kSlotBits;
static_assert(kTableOfChunk % kPage == 0);
static_assert(slots_per_chunk(0) <= size_t{1} << kSlotBits && kChunks * kTableOfChunk <= kTable);
static_assert(kRegion + kGibArea * kAreaSize <= kRecords && kRecords + (kGibArea + 1) * kTable <= kArena);
#ifndef __SANITIZE_THREAD__
static_assert(kArena + kArenaSize <= kRemapTables && kRemapTables + kRemapTablesSize <= kGibs);
static_assert(kGibs + kGibCount * kGib <= kRemap && kRemap + kRemapSize == kRegion + kRegionSize);
#endif

// A GiB home costs a mapping, of which a process has 65530 unless the administrator says otherwise.
constexpr size_t kMostGibs = kGibCount / 8 * 7;

/// Which chunks are mapped: known without a look at what may not be there.
// Here and elsewhere .lbss: what is large, and untouched in most processes, lies behind all that is small.
[[gnu::section(".lbss")]] constinit std::atomic<uint64_t> mapped[kGibArea][kChunks / 64]{};

constexpr uint32_t chunk_number(Id id) noexcept { return id.index >> kSlotBits; }
constexpr uint32_t slot_number(Id id) noexcept { return id.index & ((1 << kSlotBits) - 1); }
constexpr uintptr_t chunk_at(uint32_t area, uint32_t chunk) noexcept {
  return kRegion + area * kAreaSize + chunk * kChunk;
}

bool is_mapped(uint32_t area, uint32_t chunk) noexcept {
  return (mapped[area][chunk / 64].load(std::memory_order_acquire) >> chunk % 64 & 1) != 0;
}

bool map_charged(uintptr_t at, size_t size, const pages::Guards* guards) noexcept {
  if (!headroom::take(size)) return false;
  void* const place = reinterpret_cast<void*>(at);
  if (guards != nullptr ? guards->map(place, size) : pages::map_plain(place, size, true)) return true;
  headroom::give_back(size);
  return false;
}

/// Whether somebody else has mapped something in this chunk, rather than there being no memory.
bool is_strangers(uintptr_t chunk) noexcept {
  void* const anywhere = sys::map(kPage);
  if (anywhere == nullptr) return false;
  sys::unmap(anywhere, kPage);
  for (uintptr_t place = chunk; place < chunk + kChunk; place += kChunk / 16) {
    void* const got = sys::map_at(reinterpret_cast<void*>(place), kPage);
    if (got == nullptr) return true;
    sys::unmap(got, kPage);
  }
  return false;
}

/// Maps another chunk of the area; a place that a stranger holds is passed over. Whoever else does so at the same time
/// maps one of his own: nobody waits, also not for a thread that never comes back. Returns its number.
std::optional<uint32_t> grow(uint32_t number, const pages::Guards& guards) noexcept {
  Area& area = areas[number];
  if (pages::sealed() != pages::Seal::none || !headroom::has(kTableOfChunk + kChunk)) return std::nullopt;
  // Once refused, one time in so many is enough to see whether that has changed.
  constexpr uint32_t kPatience = 256;
  if (area.refusals.load(std::memory_order_relaxed) != 0 &&
      area.refusals.fetch_add(1, std::memory_order_relaxed) % kPatience != 0)
    return std::nullopt;
  for (int attempt = 0; attempt < 8; ++attempt) {
    uint32_t chunk = area.reserved.fetch_add(1, std::memory_order_relaxed), next = chunk + 1;
    const bool exists_at_all = chunk < kChunks;
    const uintptr_t table = table_of(number) + chunk * kTableOfChunk;
    const bool has_table = exists_at_all && map_charged(table, kTableOfChunk, nullptr);
    if (has_table && map_charged(chunk_at(number, chunk), kChunk, number % 2 != 0 ? &guards : nullptr)) {
      mapped[number][chunk / 64].fetch_or(uint64_t{1} << chunk % 64, std::memory_order_release);
      area.mapped.fetch_add(1, std::memory_order_relaxed);
      area.refusals.store(0, std::memory_order_relaxed);
      uint32_t known = area.chunks.load(std::memory_order_relaxed);
      while (known <= chunk && !area.chunks.compare_exchange_weak(known, chunk + 1, std::memory_order_release)) {
      }
      return chunk;
    }
    const bool passed_over =
        exists_at_all && (is_strangers(chunk_at(number, chunk)) || (!has_table && is_strangers(table)));
    if (has_table && pages::unmap(reinterpret_cast<void*>(table), kTableOfChunk)) headroom::give_back(kTableOfChunk);
    if (passed_over) continue;
    area.reserved.compare_exchange_strong(next, chunk, std::memory_order_relaxed);  // there may be memory another time
    area.refusals.fetch_add(1, std::memory_order_relaxed);
    return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

constinit Area areas[kGibArea + 1]{};

uintptr_t begin_of(Id id) noexcept {
  if (id.area == kGibArea) return kGibs + id.index * kGib;
  return chunk_at(id.area, chunk_number(id)) + (slot_number(id) * (slot_pages(id.area) + 1) + 1) * kPage;
}

uintptr_t end_of_gibs(Id id) noexcept {
  uint32_t next = id.index + 1;
  while (next < kGibCount && record_of({kGibArea, next}).state() == State::part) ++next;
  return kGibs + next * kGib;
}

bool exists(Id id) noexcept {
  if (id.area != kGibArea) return is_mapped(id.area, chunk_number(id));
  return areas[kGibArea].chunks.load(std::memory_order_acquire) != 0 && record_of(id).state() != State::absent;
}

Place find(uintptr_t address) noexcept {
  Id id;
  if (address >= kRemap) return {};
  if (address >= kGibs) {
    id = {kGibArea, static_cast<uint32_t>((address - kGibs) / kGib)};
    while (exists(id) && id.index > 0 && record_of(id).state() == State::part) --id.index;
  } else {
    id.area = static_cast<uint32_t>((address - kRegion) / kAreaSize);
    if (id.area >= kGibArea) return {};
    const size_t offset = address - kRegion - id.area * kAreaSize;
    const size_t per_chunk = slots_per_chunk(id.area), page = offset % kChunk / kPage;
    const size_t slot = page == 0 ? 0 : std::min((page - 1) / (slot_pages(id.area) + 1), per_chunk - 1);
    id.index = static_cast<uint32_t>(offset / kChunk << kSlotBits | slot);
  }
  return {exists(id), id};
}

Place next_to(Id id, int step) noexcept {
  const uint32_t slot = slot_number(id) + static_cast<uint32_t>(step);  // wraps below 0
  if (id.area == kGibArea || slot >= slots_per_chunk(id.area)) return {};
  return {exists(id), {id.area, chunk_number(id) << kSlotBits | slot}};
}

bool take_slot(unsigned number, uint64_t random, const pages::Guards& guards, Id& out) noexcept {
  Area& area = areas[number];
  const uint32_t per_chunk = static_cast<uint32_t>(slots_per_chunk(number));
  Random draws{random};
  constexpr int kUnlucky = 60;
  for (int attempt = 0; attempt < 64; ++attempt) {
    // Under-full, so that a freed slot is not soon another's, and few draws are needed.
    const uint32_t slots = area.mapped.load(std::memory_order_relaxed) * per_chunk;
    const uint32_t used = area.used.load(std::memory_order_relaxed);
    std::optional<uint32_t> fresh;
    if (used >= slots - slots / 4 || attempt > kUnlucky) fresh = grow(number, guards);
    if (!fresh && used >= slots) return false;
    const uint32_t now = area.chunks.load(std::memory_order_acquire);
    const uint32_t any = static_cast<uint32_t>(multiply_high(now, draws.next()));
    const uint32_t chunk = attempt > kUnlucky ? fresh.value_or(any) : any;
    const uint32_t slot = static_cast<uint32_t>(multiply_high(per_chunk, draws.next()));
    const Id id{number, chunk << kSlotBits | slot};
    if (now == 0 || !exists(id)) continue;
    Record& record = record_of(id);
    if (!become(record, State::idle, State::busy) && !become(record, State::absent, State::busy)) continue;
    area.used.fetch_add(1, std::memory_order_relaxed);
    if (record.exposed.load()) {  // let through since its block left quarantine
      give_back(id, true);
      continue;
    }
    out = id;
    return true;
  }
  return false;
}

bool take_gibs(size_t count, uint64_t random, Id& out) noexcept {
  Area& area = areas[kGibArea];
  if (area.chunks.load(std::memory_order_acquire) == 0) {
    // Who comes second finds the table there already, mapped by the first a moment ago.
    const bool first = map_charged(table_of(kGibArea), kGibCount * sizeof(Record), nullptr);
    if (!first && !sys::readable(reinterpret_cast<const void*>(table_of(kGibArea)))) return false;
    area.chunks.store(1, std::memory_order_release);
  }
  if (count > kGibCount / 4) return false;
  if (area.used.fetch_add(static_cast<uint32_t>(count)) + count > kMostGibs) {
    area.used.fetch_sub(static_cast<uint32_t>(count));
    return false;
  }
  Random draws{random};
  for (int attempt = 0; attempt < 64; ++attempt) {
    const uint32_t first = static_cast<uint32_t>(multiply_high(kGibCount - count + 1, draws.next()));
    size_t got = 0;
    for (; got < count; ++got) {
      Record& record = record_of({kGibArea, static_cast<uint32_t>(first + got)});
      const State to = got == 0 ? State::busy : State::part;
      if (record.exposed.load(std::memory_order_relaxed)) break;
      if (!become(record, State::absent, to) && !become(record, State::idle, to)) break;
    }
    if (got == count) {
      record_of({kGibArea, first}).pages = 0;
      out = {kGibArea, first};
      return true;
    }
    while (got-- > 0) {
      Record& record = record_of({kGibArea, static_cast<uint32_t>(first + got)});
      become(record, got == 0 ? State::busy : State::part, State::idle);
    }
  }
  area.used.fetch_sub(static_cast<uint32_t>(count));
  return false;
}

void give_back(Id id, bool retire) noexcept {
  Record& record = record_of(id);
  if (retire) {
    become(record, State::busy, State::retired);
    return;
  }
  uint32_t count = 1;
  if (id.area == kGibArea)
    while (id.index + count < kGibCount && become(record_of({id.area, id.index + count}), State::part, State::idle))
      ++count;
  areas[id.area].used.fetch_sub(count, std::memory_order_relaxed);
  become(record, State::busy, State::idle);
}

void stock_up() noexcept {
  for (unsigned size_class = 0; size_class < 4; ++size_class)
    if (areas[area_of(size_class, false)].chunks.load() == 0) grow(area_of(size_class, false), pages::kNone);
}

bool guard_again(const pages::Guards& guards) noexcept {
  for (uint32_t number = 1; number < kGibArea; number += 2) {
    const uint32_t end = areas[number].chunks.load(std::memory_order_acquire);
    for (uint32_t chunk = 0; chunk < end; ++chunk) {
      const uint32_t first = chunk;
      while (chunk < end && is_mapped(number, chunk)) ++chunk;
      const size_t size = (chunk - first) * kChunk;
      if (size != 0 && !guards.map_again(reinterpret_cast<void*>(chunk_at(number, first)), size)) return false;
    }
  }
  return true;
}

bool step(Id& id) noexcept {
  const auto end = [](uint32_t area) -> uint32_t {
    const uint32_t chunks = areas[area].chunks.load(std::memory_order_acquire);
    if (area == kGibArea) return chunks != 0 ? kGibCount : 0;
    return chunks << kSlotBits;
  };
  if (id.area < kGibArea && (id.index & ((1u << kSlotBits) - 1)) + 1 >= slots_per_chunk(id.area))
    id.index = ((id.index >> kSlotBits) + 1) << kSlotBits;
  else
    ++id.index;
  while (id.index >= end(id.area)) {
    id = {id.area + 1, 0};
    if (id.area > kGibArea) {
      id = {0, 0};
      return false;
    }
  }
  return true;
}

uint64_t slots() noexcept {
  uint64_t sum = 0;
  for (uint32_t area = 0; area < kGibArea; ++area)
    sum += areas[area].chunks.load(std::memory_order_relaxed) * slots_per_chunk(area);
  return sum + (areas[kGibArea].chunks.load(std::memory_order_relaxed) != 0 ? kGibCount : 0);
}

}  // namespace poireau::tracked_alloc::region
