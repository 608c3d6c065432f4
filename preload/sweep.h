#pragma once
#include <cstdint>
#include <string_view>

/// Searches the memory of the process for words that point at freed remapped blocks, so that the others can be used
/// again. See marks.h for what is done with them.
namespace poireau::sweep {

/// Whether so much is freed and readable that it is time. Asked at every free of a protected block.
[[nodiscard]] bool due() noexcept;

enum class Outcome : uint8_t { done, busy, moving, forbidden, nothing };  // moving: a thread did not stand still
/// Not from inside anything that holds a lock of ours.
Outcome run() noexcept;

/// Since the process began, or was forked.
struct Totals {
  uint64_t sweeps, given_up;    // given_up: a thread did not stand still
  uint64_t bytes;               // swept
  uint64_t freed, freed_bytes;  // blocks that are used again
  uint64_t kept, kept_bytes;    // and that something pointed at
  uint64_t ticks;               // spent
};
[[nodiscard]] Totals totals() noexcept;

void forked() noexcept;

}  // namespace poireau::sweep
