#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "tracked_alloc/remap.h"

/// The proof that nothing points at a dead block, as far as it concerns remapped homes: who has all of the program's
/// words shows them here, in between `begin` and `end`, while the program stands still. Also used for old addresses.
namespace poireau::tracked_alloc::marks {

/// False: somebody else is at it, or there is no memory for it.
[[nodiscard]] bool begin() noexcept;

/// A word that may be a pointer. A page of addresses that one points into is marked.
void see(uint64_t word) noexcept;
/// All words of these bytes (vectorised; words.h). Reads them directly.
void see_all(std::span<const std::byte> bytes) noexcept;
/// The contents of all live remapped blocks, which are not to be shown otherwise: what is dead keeps nothing alive.
/// Returns the bytes.
[[nodiscard]] uint64_t see_live_blocks() noexcept;

/// Whether any marked word pointed into the pages of [address, address + size).
[[nodiscard]] bool marked(uintptr_t address, size_t size) noexcept;

struct Limits {
  uint64_t bytes = UINT64_MAX;  // of dead blocks to be recycled, at most; the longest dead runs first
  bool close = true;            // readable dead blocks that are pointed at are closed
};
struct Outcome {
  uint64_t freed, freed_bytes;  // dead blocks that may be given out again
  uint64_t kept, kept_bytes;    // dead blocks that something points at: unreadable from here on, if they can be
  uint64_t addresses;           // bytes of addresses of closed runs that may be used again
};
/// Recycles what isn't marked.
Outcome end(const Limits& limits) noexcept;
/// Forgets what was marked: somebody did not stand still.
void abandon() noexcept;

/// Dead blocks that the last sweep kept, for the report of who points at them. Returns how many it filled in.
[[nodiscard]] size_t kept(std::span<remap::Block> out) noexcept;

}  // namespace poireau::tracked_alloc::marks
