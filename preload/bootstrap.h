#pragma once
#include <cstddef>

/// Memory for requests that arrive before the next allocator is known: dlsym's own, and those of resolvers that run
/// while the loader is still relocating. It lies in our region, so the hot path of free knows it for ever.
/// Safe from any thread and before relocation.
namespace poireau::bootstrap {

/// Zeroed memory; nullptr when the arena (1 MiB) is full or the kernel has none.
[[nodiscard]] void* allocate(size_t size, size_t alignment) noexcept;
[[nodiscard]] bool contains(const void* ptr) noexcept;
/// What `ptr` was asked with. `ptr` is in the arena.
[[nodiscard]] size_t size_of(const void* ptr) noexcept;
/// Takes the newest block back; the others stay, they are few.
void release(void* ptr) noexcept;

}  // namespace poireau::bootstrap
