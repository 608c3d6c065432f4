#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/base/cpu.h"

/// The range of addresses that is ours: claimed, not mapped. Linux puts programs, heaps, libraries and stacks
/// into the other three quarters of the address space; a stranger's mapping in it is told apart on the cold path.
namespace poireau::tracked_alloc {

constexpr uintptr_t kRegion = uintptr_t{1} << 45;  // 32 TiB from here, GiB-aligned
constexpr size_t kRegionSize = size_t{1} << 45;

constexpr int64_t kRegionFloor = int64_t{1} << 62;  // what cpu::in_second_quarter compares with
constexpr int64_t kEverything = INT64_MIN;

/// kEverything until the next allocator is known, so that no pointer passes the hot path unseen before.
[[gnu::visibility("hidden")]] extern constinit int64_t region_floor;

/// Whether `ptr` lies in our region; cheap enough for every free.
inline bool owns(const void* ptr) noexcept { return cpu::in_second_quarter(ptr, region_floor); }

}  // namespace poireau::tracked_alloc
