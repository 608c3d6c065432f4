#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap.h"

/// The memory that remapped homes share: a file in memory, without a descriptor. All of it is mapped once, the anchor,
/// by which we read blocks whatever has become of their addresses; every other mapping is made from that.
namespace poireau::tracked_alloc::remap::arena {

constexpr uintptr_t kAnchor = region::kRemapTables + (size_t{1} << 40);

[[nodiscard]] bool begin(size_t most, Dump dump) noexcept;
/// The offset of 2^shift pages in it, for good, that are zero; SIZE_MAX: there are none.
[[nodiscard]] size_t take(unsigned shift) noexcept;
/// Shows these pages at an address.
[[nodiscard]] bool show(size_t offset, size_t pages, uintptr_t at) noexcept;
/// Forgets what these pages hold, wherever they are shown.
[[nodiscard]] bool drop(size_t offset, size_t pages) noexcept;
constexpr uintptr_t kCopy = kAnchor + (size_t{512} << 30);
inline const std::byte* read(size_t offset) noexcept { return reinterpret_cast<const std::byte*>(kAnchor + offset); }

/// Whether the page there is in memory; only where the machine does not swap.
[[nodiscard]] bool has(size_t offset) noexcept;
[[nodiscard]] bool swaps() noexcept;

// For a fork child: another file as large, beside it. It is filled through a descriptor, which costs less than to touch
// its pages.
[[nodiscard]] bool make_copy() noexcept;
[[nodiscard]] bool fill_copy(size_t offset, size_t bytes) noexcept;  // with what is there
void end_copy() noexcept;                                            // it is full
[[nodiscard]] bool has_copy() noexcept;
inline std::byte* copy_at(size_t offset) noexcept { return reinterpret_cast<std::byte*>(kCopy + offset); }
void drop_copy() noexcept;
/// It takes the arena's place; what is shown elsewhere is the old one's still. False: so is everything.
[[nodiscard]] bool adopt_copy() noexcept;

// Of the program's own limits we leave it a part.
[[nodiscard]] bool take_mapping(size_t pages) noexcept;  // another one, of so many pages
void give_mapping_back(size_t pages) noexcept;
[[nodiscard]] uint64_t mappings() noexcept;

/// No system calls but those that give memory back.
[[nodiscard]] bool sealed() noexcept;
void seal(bool wanted) noexcept;

}  // namespace poireau::tracked_alloc::remap::arena
