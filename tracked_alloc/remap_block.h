#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_places.h"

/// What is known of the block at a spot.
namespace poireau::tracked_alloc::remap::blocks {

inline bool is_born(const places::Entry& entry) noexcept { return entry.born.load(std::memory_order_acquire) != 0; }
/// Whether it lives; who is about to free it has claimed it already.
inline bool is_live(const places::Entry& entry) noexcept {
  const uint64_t died = entry.died.load(std::memory_order_acquire);
  return (died == 0 || died == places::kClaimed) && is_born(entry);
}
/// Given out, and soon to live: dead for all others.
inline void set_coming(places::Entry& entry) noexcept {
  entry.died.store(places::kDead | places::kFree | places::kClaimed, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_release);  // before its bytes are written
}
/// Whether somebody may rely on what it holds, who was interrupted while he allocated or freed it, too.
inline bool is_in_use(const places::Entry& entry) noexcept {
  return is_live(entry) || (entry.died.load(std::memory_order_relaxed) & places::kClaimed) != 0;
}
inline size_t size_of(uint64_t born, size_t capacity) noexcept { return capacity - (born & 0xffff); }

/// Noise ends with the page, so that nobody pays for others that the block does not use.
inline uintptr_t end_of_noise(uintptr_t block, size_t size, size_t capacity) noexcept {
  constexpr size_t kPage = region::kPage;
  return std::min(block + capacity, (block + size) / kPage * kPage + kPage);
}

[[nodiscard]] Block describe(const places::Spot& spot) noexcept;
/// Why the block there is not to be freed.
[[nodiscard]] Death describe_failure(const places::Spot& spot, uintptr_t address) noexcept;

}  // namespace poireau::tracked_alloc::remap::blocks
