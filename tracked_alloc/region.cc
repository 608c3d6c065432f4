#include "tracked_alloc/region.h"

#include <algorithm>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/headroom.h"

namespace poireau::tracked_alloc::region {
namespace {

constexpr size_t kAreaSize = kTib / 2;
constexpr size_t kTable = size_t{1} << 33;  // an area's part of the table of records
constexpr size_t kTableStep = 64 << 10;
static_assert(kAreaSize / kChunk * slots_per_chunk(0) * sizeof(Record) <= kTable);
static_assert(kRegion + kGibArea * kAreaSize <= kRecords && kRecords + (kGibArea + 1) * kTable <= kArena);
static_assert(kArena + kArenaSize <= kGibs && kGibs + kGibCount * kGib == kRegion + kRegionSize);

// A GiB home costs a mapping, of which a process has 65530 unless the administrator says otherwise.
constexpr size_t kMostGibs = 12288;

constexpr uintptr_t chunk_of(Id id) noexcept {
  return kRegion + id.area * kAreaSize + id.index / slots_per_chunk(id.area) * kChunk;
}
constexpr uint32_t first_of_chunk(Id id) noexcept {
  return id.index - id.index % static_cast<uint32_t>(slots_per_chunk(id.area));
}

uintptr_t table_of(uint32_t area) noexcept { return kRecords + area * kTable; }

/// Makes the table reach to record `count` of the area. Only for who is growing it.
bool extend_table(uint32_t area, size_t count) noexcept {
  size_t& end = areas[area].records_end;
  const size_t wanted = (count * sizeof(Record) + kTableStep - 1) / kTableStep * kTableStep;
  if (wanted <= end) return true;
  if (!headroom::take(wanted - end)) return false;
  if (pages::map_plain(reinterpret_cast<void*>(table_of(area) + end), wanted - end, true)) {
    end = wanted;
    return true;
  }
  headroom::give_back(wanted - end);
  return false;
}

class Growth {
 public:
  explicit Growth(Area& area) noexcept : area_(area), mine_(!area.growing.exchange(true, std::memory_order_acquire)) {}
  Growth(const Growth&) = delete;
  Growth& operator=(const Growth&) = delete;
  ~Growth() {
    if (!mine_) return;
    area_.stuck.store(false, std::memory_order_relaxed);
    area_.growing.store(false, std::memory_order_release);
  }
  explicit operator bool() const noexcept { return mine_; }

 private:
  Area& area_;
  const bool mine_;
};

/// Whether another thread has just made an area grow that had `before` slots. That is waited for for a moment, and by
/// nobody else if in vain: that thread may be the one that a signal has interrupted here, or have left by a jump.
bool has_grown(Area& area, uint32_t before) noexcept {
  int patience = area.stuck.load(std::memory_order_relaxed) ? 0 : 1 << 14;
  while (patience > 0 && area.growing.load(std::memory_order_acquire)) cpu::pause(), --patience;
  if (patience == 0) area.stuck.store(true, std::memory_order_relaxed);
  return area.slots.load(std::memory_order_acquire) != before;
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

/// Maps the area's next chunk; a place that a stranger holds is passed over.
bool grow(uint32_t number, const pages::Guards& guards) noexcept {
  Area& area = areas[number];
  const Growth growth(area);
  if (!growth) return false;
  const uint32_t more = static_cast<uint32_t>(slots_per_chunk(number));
  for (int attempt = 0; attempt < 8; ++attempt) {
    const Id first{number, area.slots.load(std::memory_order_relaxed)};
    void* const chunk = reinterpret_cast<void*>(chunk_of(first));
    if (chunk_of(first) + kChunk > kRegion + (number + 1) * kAreaSize) return false;
    if (!extend_table(number, first.index + more) || !headroom::take(kChunk)) return false;
    const bool mapped = number % 2 != 0 ? guards.map(chunk, kChunk) : pages::map_plain(chunk, kChunk, true);
    if (!mapped) headroom::give_back(kChunk);
    if (!mapped && !is_strangers(chunk_of(first))) return false;
    record_of(first).ours = mapped;
    area.slots.store(first.index + more, std::memory_order_release);
    if (mapped) return true;
  }
  return false;
}

}  // namespace

constinit Area areas[kGibArea + 1]{};

bool become(Record& record, State from, State to) noexcept {
  uint32_t now = record.state_and_turn.load(std::memory_order_relaxed);
  if (static_cast<State>(now & 0xff) != from) return false;
  const uint32_t turn = (now & ~0xffu) + (to == State::busy ? 0x100 : 0);
  return record.state_and_turn.compare_exchange_strong(now, turn | static_cast<uint32_t>(to));
}

uintptr_t begin_of(Id id) noexcept {
  if (id.area == kGibArea) return kGibs + id.index * kGib;
  return chunk_of(id) + ((id.index - first_of_chunk(id)) * (slot_pages(id.area) + 1) + 1) * kPage;
}

uintptr_t end_of_gibs(Id id) noexcept {
  uint32_t next = id.index + 1;
  while (next < kGibCount && record_of({kGibArea, next}).state() == State::part) ++next;
  return kGibs + next * kGib;
}

Record& record_of(Id id) noexcept { return reinterpret_cast<Record*>(table_of(id.area))[id.index]; }

bool exists(Id id) noexcept {
  if (id.index >= areas[id.area].slots.load(std::memory_order_acquire)) return false;
  return id.area == kGibArea ? record_of(id).state() != State::absent : record_of({id.area, first_of_chunk(id)}).ours;
}

Place find(uintptr_t address) noexcept {
  Id id;
  if (address >= kGibs) {
    id = {kGibArea, static_cast<uint32_t>((address - kGibs) / kGib)};
    while (exists(id) && id.index > 0 && record_of(id).state() == State::part) --id.index;
  } else {
    id.area = static_cast<uint32_t>((address - kRegion) / kAreaSize);
    if (id.area >= kGibArea) return {};
    const size_t offset = address - kRegion - id.area * kAreaSize;
    const size_t per_chunk = slots_per_chunk(id.area), page = offset % kChunk / kPage;
    const size_t slot = page == 0 ? 0 : std::min((page - 1) / (slot_pages(id.area) + 1), per_chunk - 1);
    id.index = static_cast<uint32_t>(offset / kChunk * per_chunk + slot);
  }
  return {exists(id), id};
}

Place next_to(Id id, int step) noexcept {
  const Id other{id.area, id.index + static_cast<uint32_t>(step)};
  if (id.area == kGibArea || first_of_chunk(other) != first_of_chunk(id)) return {};
  return {exists(other), other};
}

bool take_slot(unsigned number, uint64_t random, const pages::Guards& guards, Id& out) noexcept {
  Area& area = areas[number];
  Random draws{random};
  for (int attempt = 0; attempt < 64; ++attempt) {
    // Under-full, so that a freed slot is not soon another's, and few draws are needed.
    const uint32_t slots = area.slots.load(std::memory_order_acquire);
    const uint32_t used = area.used.load(std::memory_order_relaxed);
    if (used >= slots - slots / 4 && !grow(number, guards) && used >= slots && !has_grown(area, slots)) return false;
    const uint32_t now = area.slots.load(std::memory_order_acquire);
    if (now == 0) continue;
    const Id id{number, static_cast<uint32_t>(multiply_high(now, draws.next()))};
    Record& record = record_of(id);
    if (!exists(id) || (!become(record, State::idle, State::busy) && !become(record, State::absent, State::busy)))
      continue;
    if (record.exposed.load(std::memory_order_relaxed)) {
      become(record, State::busy, State::retired);
      continue;
    }
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
  if (area.slots.load(std::memory_order_acquire) == 0) {
    const Growth growth(area);
    if (growth && !extend_table(kGibArea, kGibCount)) return false;
    if (growth) area.slots.store(kGibCount, std::memory_order_release);
    if (!growth && !has_grown(area, 0)) return false;
  }
  if (count > kGibCount / 4 || area.used.fetch_add(static_cast<uint32_t>(count)) + count > kMostGibs) {
    if (count <= kGibCount / 4) area.used.fetch_sub(static_cast<uint32_t>(count));
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
    if (areas[area_of(size_class, false)].slots.load() == 0) grow(area_of(size_class, false), pages::kNone);
}

bool guard_again(const pages::Guards& guards) noexcept {
  for (uint32_t number = 1; number < kGibArea; number += 2) {
    const uint32_t end = areas[number].slots.load(std::memory_order_acquire);
    const uint32_t step = static_cast<uint32_t>(slots_per_chunk(number));
    for (uint32_t index = 0; index < end;) {
      const uint32_t first = index;
      while (index < end && record_of({number, index}).ours) index += step;
      const uintptr_t from = chunk_of({number, first});
      const size_t size = (index - first) / step * kChunk;
      if (size != 0 && !guards.map_again(reinterpret_cast<void*>(from), size)) return false;
      if (size == 0) index += step;
    }
  }
  return true;
}

void forked() noexcept {
  for (Area& area : areas) area.growing.store(false, std::memory_order_relaxed);
}

}  // namespace poireau::tracked_alloc::region
