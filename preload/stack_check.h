#pragma once
#include "preload/stack.h"

/// In dev builds each stack that is walked by rows is walked by libgcc too; should they differ, both are shown and the
/// program is over. Costs nothing in the others.
namespace poireau::stack {
#ifdef POIREAU_FAULTS
/// `out` and `count` are what `by` gave for this caller, or for this context; they are the same afterwards.
void check(const Unwinder& by, std::span<uintptr_t> out, size_t count, const void* caller) noexcept;
void check_from(const Unwinder& by, std::span<uintptr_t> out, size_t count, const void* context) noexcept;
#else
inline void check(const Unwinder&, std::span<uintptr_t>, size_t, const void*) noexcept {}
inline void check_from(const Unwinder&, std::span<uintptr_t>, size_t, const void*) noexcept {}
#endif
}  // namespace poireau::stack
