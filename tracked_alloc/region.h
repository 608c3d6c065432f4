#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/pages.h"
#include "tracked_alloc/record.h"
#include "tracked_alloc/tracked_alloc.h"

/// What lies where in our region, and the homes that are there so far. From its first byte:
///
///   18 areas of slots, 512 GiB each: guarded and plain ones of 1, 2, 4 ... 256 pages
///   the table of records, for each area in the order of its slots, and for the GiB homes
///   the bootstrap arena, somewhere in a TiB
///   what is known of remapped homes, and the memory that they share (remap.h)
///   11 TiB of GiB homes: each has one GiB, or several, to itself
///   8 TiB of remapped homes
///
/// An area grows by chunks of 2 MiB. In a chunk, slots and guards alternate: [guard][slot][guard][slot]...[guard]; what
/// is left over at its end is guard too. Homes are known by number, so that a number finds its record and back.
namespace poireau::tracked_alloc::region {

constexpr size_t kPage = 4096, kChunk = size_t{2} << 20, kGib = size_t{1} << 30, kTib = size_t{1} << 40;
constexpr size_t kChunkPages = kChunk / kPage;

constexpr unsigned kClasses = 9;  // 1, 2, 4 ... 256 pages
constexpr size_t kMostSlotPages = size_t{1} << (kClasses - 1);
constexpr unsigned kGibArea = 2 * kClasses;  // the number of the area of GiB homes

constexpr uintptr_t kRecords = kRegion + 9 * kTib;
constexpr size_t kTable = size_t{1} << 33;  // an area's part of them
constexpr uintptr_t table_of(uint32_t area) noexcept { return kRecords + area * kTable; }
constexpr uintptr_t kArena = kRegion + 10 * kTib;
constexpr size_t kArenaSize = kTib;
#ifndef __SANITIZE_THREAD__
constexpr uintptr_t kRemapTables = kRegion + 11 * kTib;
constexpr uintptr_t kRemap = kRegion + 24 * kTib;
constexpr size_t kRemapSize = 8 * kTib;
#else  // unit tests of remapped homes: here its shadow is nobody else's
constexpr uintptr_t kRemapTables = uintptr_t{0x4080} << 32;
constexpr uintptr_t kRemap = kRemapTables + 2 * kTib;
constexpr size_t kRemapSize = kTib / 2;
#endif
constexpr size_t kRemapTablesSize = 2 * kTib;
constexpr uintptr_t kGibs = kRegion + 13 * kTib;
constexpr size_t kGibCount = 11 * kTib / kGib;

constexpr unsigned kSlotBits = 8;
constexpr unsigned area_of(unsigned size_class, bool guarded) noexcept { return 2 * size_class + guarded; }
constexpr size_t slot_pages(unsigned area) noexcept { return size_t{1} << (area / 2); }
constexpr size_t slots_per_chunk(unsigned area) noexcept { return (kChunkPages - 1) / (slot_pages(area) + 1); }

/// A plain block in a GiB of its own has readable pages around it all the same: one byte too far is no fault without us
/// either.
constexpr size_t kMarginPages = 1;

/// A home's number. In an area of slots `index` is the chunk's number times 256, plus the slot's in it.
struct Id {
  uint32_t area, index;
  constexpr uint64_t packed() const noexcept { return (uint64_t{area} << 32 | index) + 1; }  // never 0
  static constexpr Id unpack(uint64_t packed) noexcept {
    return {static_cast<uint32_t>((packed - 1) >> 32), static_cast<uint32_t>(packed - 1)};
  }
};

/// The first byte of a slot, or of a GiB home's addresses.
[[nodiscard]] uintptr_t begin_of(Id id) noexcept;
/// The byte behind the last of a GiB home's addresses.
[[nodiscard]] uintptr_t end_of_gibs(Id id) noexcept;
/// Its record. Only where `exists`.
[[nodiscard]] inline Record& record_of(Id id) noexcept {
  return reinterpret_cast<Record*>(table_of(id.area))[id.index];
}
/// Whether the slot's chunk, or the GiB, is mapped and ours.
[[nodiscard]] bool exists(Id id) noexcept;

/// Takes the home from one state to another; false: it is in a third one.
inline bool become(Record& record, State from, State to) noexcept {
  uint32_t now = record.state_and_turn.load(std::memory_order_relaxed);
  if (static_cast<State>(now & 0xff) != from) return false;
  const uint32_t turn = (now & ~0xffu) + (to == State::busy ? 0x100 : 0);
  return record.state_and_turn.compare_exchange_strong(now, turn | static_cast<uint32_t>(to));
}

/// Whose address this is. A guard belongs to the slot before it, and the first guard of a chunk to its first slot.
struct Place {
  bool ours = false;
  Id id{};
};
[[nodiscard]] Place find(uintptr_t address) noexcept;
/// Its neighbours in the same chunk, if there are any.
[[nodiscard]] Place next_to(Id id, int step) noexcept;

/// Takes a slot that is not in use, chosen at random, and makes its record busy; more are mapped as they fill up.
/// False: no memory, no address space, no system calls any more.
[[nodiscard]] bool take_slot(unsigned area, uint64_t random, const pages::Guards& guards, Id& out) noexcept;
/// The same for `count` GiBs in a row.
[[nodiscard]] bool take_gibs(size_t count, uint64_t random, Id& out) noexcept;
/// A busy home is free again; `retire`: for ever in use.
void give_back(Id id, bool retire) noexcept;

/// Maps a few plain slots ahead: soon there are no system calls any more.
void stock_up() noexcept;
/// Guards work again (false: they don't, and none is to be relied on).
bool guard_again(const pages::Guards& guards) noexcept;
/// Calls `visit(id, record)` for each home that has ever been in use.
template <typename Visit>
void for_each(Visit&& visit) noexcept;

/// The number after it, from one area into the next; false: it was the last, and `id` is the first again.
[[nodiscard]] bool step(Id& id) noexcept;
/// Slots there are, used or not.
[[nodiscard]] uint64_t slots() noexcept;

struct Area {
  std::atomic<uint32_t> chunks;    // the highest number of one that is mapped, plus one
  std::atomic<uint32_t> mapped;    // how many are: strangers hold some, and others are being mapped right now
  std::atomic<uint32_t> reserved;  // the next one to map
  std::atomic<uint32_t> used;      // slots, or GiBs
  std::atomic<uint32_t> refusals;  // how often the kernel had nothing to map lately
};
extern constinit Area areas[kGibArea + 1];

template <typename Visit>
void for_each(Visit&& visit) noexcept {
  const auto see = [&visit](Id id) {
    if (exists(id) && record_of(id).state() != State::absent) visit(id, record_of(id));
  };
  for (uint32_t area = 0; area < kGibArea; ++area)
    for (uint32_t chunk = 0; chunk < areas[area].chunks.load(std::memory_order_acquire); ++chunk)
      for (uint32_t slot = 0; slot < slots_per_chunk(area); ++slot) see({area, chunk << kSlotBits | slot});
  for (uint32_t index = 0; index < kGibCount && areas[kGibArea].chunks.load() != 0; ++index) see({kGibArea, index});
}

}  // namespace poireau::tracked_alloc::region
