#pragma once
#include <cstddef>
#include <cstdint>

/// Objects that an allocator of the program's own places in memory that it has announced (poireau.h). Any thread, any
/// time, without locks.
namespace poireau::pools {

/// False: there are too many, or there is no memory.
[[nodiscard]] bool create(uintptr_t begin, size_t size) noexcept;
void destroy(uintptr_t begin) noexcept;
/// Whether there is any.
[[nodiscard]] bool any() noexcept;

void allocated(uintptr_t object, size_t size) noexcept;

struct Object {
  uintptr_t address = 0;  // 0: none
  size_t size = 0;
  bool live = false;
};
/// What was there before: if it was live, it isn't any more. No such object, or no pool: address 0.
Object freed(uintptr_t object) noexcept;
/// The object that the address is in, or was.
[[nodiscard]] Object find(uintptr_t address) noexcept;

}  // namespace poireau::pools
