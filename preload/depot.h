#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

/// Each stack once, under a number that fits a record. Bounded, lock-free, position-independent (so it may lie in a
/// file), for signal handlers too. What a child of fork adds stays in the child.
namespace poireau::depot {

/// The stack's number; 0: it is empty, there is no memory, or the depot is full (then counted).
[[nodiscard]] uint32_t intern(std::span<const uintptr_t> frames, bool truncated = false) noexcept;
/// The frames of a number from `intern`; empty for 0.
[[nodiscard]] std::span<const uintptr_t> frames_of(uint32_t number) noexcept;
/// Whether it went on.
[[nodiscard]] bool truncated(uint32_t number) noexcept;
/// Stacks that found no room.
[[nodiscard]] uint64_t refused() noexcept;

}  // namespace poireau::depot
