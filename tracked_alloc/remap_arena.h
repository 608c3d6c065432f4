#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap.h"

/// The memory that remapped homes share: a file in memory, without a descriptor. All of it is mapped once, the anchor,
/// by which we read blocks whatever has become of their addresses; every other mapping is made from that.
namespace poireau::tracked_alloc::remap::arena {

constexpr uintptr_t kAnchor = region::kRemapTables + (size_t{1} << 40);

[[nodiscard]] bool begin(size_t most, bool dump) noexcept;
/// The offset of so many new pages in it, that are zero; SIZE_MAX: there are none.
[[nodiscard]] size_t take(size_t pages) noexcept;
/// Shows these pages at an address.
[[nodiscard]] bool show(size_t offset, size_t pages, uintptr_t at) noexcept;
/// Forgets what these pages hold, wherever they are shown.
[[nodiscard]] bool drop(size_t offset, size_t pages) noexcept;
inline const std::byte* read(size_t offset) noexcept { return reinterpret_cast<const std::byte*>(kAnchor + offset); }

/// Whether the page there is in memory; only where the machine does not swap.
[[nodiscard]] bool has(size_t offset) noexcept;
[[nodiscard]] bool swaps() noexcept;

/// In a fork child: another arena, with nothing in it yet; `copy` fills it, in place of the anchor's. False: the old
/// one is there still.
[[nodiscard]] bool renew(void (*copy)(std::byte* to) noexcept) noexcept;

// Of the program's own limits we leave it a part.
[[nodiscard]] bool take_mapping(size_t pages) noexcept;  // another one, of so many pages
void give_mapping_back(size_t pages) noexcept;
[[nodiscard]] uint64_t mappings() noexcept;

/// No system calls but those that give memory back.
[[nodiscard]] bool sealed() noexcept;
void seal(bool wanted) noexcept;

}  // namespace poireau::tracked_alloc::remap::arena
