#pragma once
#include <cstdint>

#include "preload/kinds.h"
#include "tracked_alloc/verdict.h"

/// What a remapped block remembers of its birth and of its death, in 48 bits: the function that was called, and from
/// where; the stack's number, or the caller alone.
namespace poireau::notes {

using tracked_alloc::remap::Note;

[[nodiscard]] Note of_caller(Kind kind, const void* caller) noexcept;
/// `stack`: its number (depot.h); never 0.
[[nodiscard]] Note of_stack(Kind kind, uint32_t stack) noexcept;

/// Of all forms of an operator it may be the first one. A value that is no Kind: unknown.
[[nodiscard]] Kind kind_of(Note note) noexcept;
/// The number of its stack, which may be the caller alone; 0: nothing is known.
[[nodiscard]] uint32_t stack_of(Note note) noexcept;

/// Puts what the notes of a remapped block say where other blocks have it. Time and thread stay 0,
/// except a sample's.
void look_up(tracked_alloc::Block& block) noexcept;

}  // namespace poireau::notes
