#pragma once
#include <cstddef>
#include <cstdint>

/// What the program's limits leave for us: under a finite RLIMIT_AS or RLIMIT_DATA, or where the kernel does not
/// overcommit, all our mappings together stay under 1/64 of what was free when we came.
namespace poireau::tracked_alloc::headroom {

/// Reads the limits. `open`: files and other calls may be used; else the limits count as infinite only if they can be
/// read by prlimit alone, see the .cc.
void learn(bool open) noexcept;
/// Asks for `size` more bytes of mappings. False: they would be too many.
[[nodiscard]] bool take(size_t size) noexcept;
/// Whether `take` would say yes.
[[nodiscard]] bool has(size_t size) noexcept;
void give_back(size_t size) noexcept;
/// All taken now, and the limit (SIZE_MAX: none).
[[nodiscard]] size_t taken() noexcept;
[[nodiscard]] size_t limit() noexcept;

}  // namespace poireau::tracked_alloc::headroom
