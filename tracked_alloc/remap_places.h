#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/region.h"
#include "tracked_alloc/remap_shapes.h"

/// Addresses of remapped homes: which are used, by what, and what is remembered of each block. In units of 2 MiB, the
/// lowest first. Tables are mapped as far as addresses have been used, and found by arithmetic alone.
namespace poireau::tracked_alloc::remap::places {

constexpr size_t kPage = region::kPage, kUnitPages = region::kChunkPages, kUnit = region::kChunk;
constexpr size_t kUnits = kSize / kUnit;
constexpr unsigned kUnitShift = 9, kLeastShift = 2;  // runs have 4 ... 512 pages

/// What is known of a block, by the first page of its group. All zero: never born.
struct Entry {
  std::atomic<uint64_t> born;  // the note, and how much of its room it does not use (16 bits, never 0)
  std::atomic<uint64_t> died;  // the note, and these; 0: it lives
};
enum : uint64_t {
  kDead = 1,
  kClaimed = 2,  // by who is about to free it, or to change its size
  kClosed = 4,   // by itself
  kFree = 8,     // a sweep has seen that nothing points at it: to be given out again
  kShown = 16,   // opened for good
};
constexpr unsigned kNoteShift = 16;

/// What lies at a run's addresses: the run's number, its lane, the shape of its blocks, how many pages it has, and
/// whether it has moved on. 0: nothing yet.
struct Place {
  uint64_t word = 0;
  constexpr Place() = default;
  constexpr explicit Place(uint64_t bits) : word(bits) {}
  constexpr Place(uint32_t run, unsigned lane, unsigned shape, unsigned shift)
      : word(uint64_t{run} | uint64_t{lane} << 32 | uint64_t{shape} << 48 | uint64_t{shift} << 56 | kThere) {}
  static constexpr uint64_t kThere = uint64_t{1} << 60, kGone = uint64_t{1} << 61, kParts = uint64_t{1} << 62;
  constexpr uint32_t run() const noexcept { return static_cast<uint32_t>(word); }
  constexpr unsigned lane() const noexcept { return word >> 32 & 0xffff; }
  constexpr unsigned shape() const noexcept { return word >> 48 & 0xff; }
  constexpr unsigned shift() const noexcept { return word >> 56 & 0xf; }
  constexpr bool there() const noexcept { return (word & kThere) != 0; }
  constexpr bool gone() const noexcept { return (word & kGone) != 0; }
  /// Of an empty unit that is cut into runs of this size.
  static constexpr Place parts(unsigned shift) noexcept { return Place{kParts | uint64_t{shift} << 56}; }
};

struct Unit {
  std::atomic<uint64_t> place;  // the run's that fills it; or kParts and their size
  std::atomic<uint32_t> spent;  // pages that runs have left
  std::atomic<uint32_t> state;  // see .cc
};

inline Unit* const units = reinterpret_cast<Unit*>(region::kRemapTables);
inline Entry* const entries = reinterpret_cast<Entry*>(region::kRemapTables + (size_t{64} << 30));
inline std::atomic<uint64_t>* const parts =
    reinterpret_cast<std::atomic<uint64_t>*>(region::kRemapTables + (size_t{128} << 30));  // one for four pages

/// Units whose tables are mapped: the first so many.
[[gnu::visibility("hidden")]] extern std::atomic<size_t> known;

constexpr size_t page_of(uintptr_t address) noexcept { return (address - kBegin) / kPage; }
constexpr uintptr_t address_of(size_t page) noexcept { return kBegin + page * kPage; }

/// Who is at this page, and the first page of its run.
struct Found {
  Place place;
  size_t first;
};
[[gnu::always_inline]] inline Found at(size_t page) noexcept {
  const size_t unit = page / kUnitPages;
  if (unit >= known.load(std::memory_order_acquire)) [[unlikely]]
    return {};
  Place place{units[unit].place.load(std::memory_order_acquire)};
  if ((place.word & Place::kParts) != 0) {
    const size_t first = page >> place.shift() << place.shift();
    return {Place{parts[first >> kLeastShift].load(std::memory_order_acquire)}, first};
  }
  return {place, unit * kUnitPages};
}

/// Where exactly an address lies: its group, and the block in it.
struct Spot {
  Place place;
  size_t group;     // its first page
  unsigned number;  // in the run
  uintptr_t block;
};
/// Where somebody is.
[[gnu::always_inline]] inline Spot spot_in(const Found& found, size_t page) noexcept {
  const Shape& shape = kShapes[found.place.shape()];
  const unsigned number = group_of(shape, static_cast<unsigned>(page - found.first));
  const size_t group = found.first + number * shape.group;
  return {found.place, group, number, address_of(group) + offset_in(shape, found.place.lane(), number)};
}
[[gnu::always_inline]] inline Spot spot_of(uintptr_t address) noexcept {
  const size_t page = page_of(address);
  const Found found = at(page);
  return found.place.there() ? spot_in(found, page) : Spot{};
}

/// `addresses`: bytes of them that may be used; 0: all.
void begin(size_t addresses) noexcept;
/// Addresses for a run of 2^shift pages; returns its first page, 0: there are none, or no memory for tables.
[[nodiscard]] size_t take(unsigned shift) noexcept;
/// Writes down that a run is there.
void settle(size_t page, Place place) noexcept;
/// Who was there has gone.
void leave(size_t page, unsigned shift) noexcept;
/// Nothing is to come to this unit any more.
void retire(size_t page) noexcept;

/// Makes units that all have left usable again, if nothing is marked there. Returns the bytes.
[[nodiscard]] uint64_t recycle(bool (*marked)(uintptr_t address, size_t size) noexcept) noexcept;
/// Forgets blocks of long ago while more than `most` bytes are remembered of those that are gone.
void forget(size_t most) noexcept;
void forked() noexcept;

[[nodiscard]] uint64_t used_bytes() noexcept;   // of addresses
[[nodiscard]] uint64_t table_bytes() noexcept;  // touched so far, roughly
[[nodiscard]] bool exhausted() noexcept;        // most of them have been used

/// Makes sure that [at, at + size) of a table is mapped; for tables that grow at their end.
[[nodiscard]] bool have_table(uintptr_t at, size_t size) noexcept;

}  // namespace poireau::tracked_alloc::remap::places
