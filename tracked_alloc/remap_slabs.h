#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/region.h"

/// Stretches of the arena, *slabs*, of 16 to 512 pages. Of each page of a slab a part, always the same, belongs to a
/// bin; so sizes of which few blocks live share the memory that long runs take.
namespace poireau::tracked_alloc::remap::slabs {

constexpr unsigned kLeastShift = 4, kMostShift = 9;
constexpr unsigned kGrainOfBins = 64;  // bytes

struct alignas(64) Slab {
  std::atomic<uint64_t> taken;  // by bins: a bit for 64 bytes of each page
  size_t offset;                // in the arena
  uint32_t next;                // of those as long, plus one
  uint8_t shift;
  std::atomic<uint8_t> touched;  // eighths of 512 pages that have been used: there is memory
  std::atomic<bool> sparse;      // groups of pages lie in it, and not all pages may be there
  uint64_t live[8];              // pages of live blocks; of who looks for them in a fork
};

constexpr uintptr_t kTable = region::kRemapTables + (size_t{192} << 30);
inline Slab* const table = reinterpret_cast<Slab*>(kTable);
[[gnu::visibility("hidden")]] extern std::atomic<uint32_t> count;
/// Bytes of those that have bins, and how much of these has been used.
[[gnu::visibility("hidden")]] extern std::atomic<uint64_t> promised, physical;

struct Bin {
  uint32_t slab;
  uint32_t at;  // byte of the page
};
/// So many bytes of each page, a power of two, of a slab where others have bins already.
[[nodiscard]] bool take(unsigned shift, unsigned bytes, Bin& out) noexcept;
[[nodiscard]] bool has_room(unsigned shift, unsigned bytes) noexcept;
/// The same, of one that nobody uses; false: there is no memory.
[[nodiscard]] bool take_new(unsigned shift, unsigned bytes, Bin& out) noexcept;
/// Nothing shows it any more. Who gives the last one back drops the slab's memory.
void give_back(const Bin& bin, unsigned bytes) noexcept;
/// Drops what could not be dropped then.
void drop_unused() noexcept;

inline size_t pages_of_eighth(const Slab& slab) noexcept { return slab.shift < 6 ? size_t{1} << slab.shift : 64; }
/// These eighths are used. True: they all were.
bool touch(Slab& slab, unsigned eighths) noexcept;

// In a fork child, where threads are no more that were at it: no bin is taken, but those that are claimed now.
void forked() noexcept;
void claim(const Bin& bin, unsigned bytes) noexcept;

}  // namespace poireau::tracked_alloc::remap::slabs
