#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/base/sys.h"
#include "tracked_alloc/pages.h"

/// What the mechanisms are made of. Each step looks first whether its system calls are allowed; false: they aren't, or
/// the kernel refused.
namespace poireau::tracked_alloc::pages {

constexpr size_t kPage = 4096;

/// What the environment lets us ask of the kernel. `mapping`: mmap, munmap, mprotect and madvise(MADV_DONTNEED);
/// `giving_back`: munmap and that madvise.
enum class Allowed : uint8_t { everything, mapping, giving_back, nothing };
[[nodiscard]] bool allowed(Allowed what) noexcept;

/// Maps [at, at + size) with no access yet, not locked in memory even where mlockall wants all that is new to be, and
/// excluded from core dumps if so wished. Ranges claimed alike can become one mapping.
[[nodiscard]] bool claim(void* at, size_t size, bool small_homes) noexcept;
[[nodiscard]] bool protect(void* at, size_t size, bool accessible) noexcept;
/// Unlocks the pages first if an mlockall since `claim` is in the way.
[[nodiscard]] bool apply(void* at, size_t size, sys::Advice advice) noexcept;

/// Whether the mechanism does what it says, found out on two pages somewhere without a fault.
[[nodiscard]] bool try_out(const Guards& guards) noexcept;

}  // namespace poireau::tracked_alloc::pages
