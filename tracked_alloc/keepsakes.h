#pragma once
#include <cstddef>
#include <cstdint>

/// What freed blocks held, up to a page each: a ring, the oldest is overwritten. So that a program that reads a freed
/// block finds what it would have found without guards. Lock-free.
namespace poireau::tracked_alloc::keepsakes {

constexpr size_t kMost = 4096;

/// Gets the ring's memory. Once; without it nothing is kept.
void begin(size_t budget) noexcept;

/// Keeps (the beginning of) these bytes; where, or 0.
[[nodiscard]] uint64_t keep(uintptr_t block, size_t size) noexcept;
/// Writes up to `size` bytes from `offset` on of what is kept there to `to`, if it is there still; how many.
size_t restore(uint64_t where, size_t offset, void* to, size_t size) noexcept;

}  // namespace poireau::tracked_alloc::keepsakes
