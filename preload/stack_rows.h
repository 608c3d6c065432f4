#pragma once
#include <cstdint>

#include "preload/stack.h"
#include "preload/thread.h"

/// A walk by rows, for the unwinders that need a part of one.
namespace poireau::stack {

/// Where a function goes on, or will when it is returned to.
struct Frame {
  uintptr_t pc, sp, bp;
};

/// The caller's, of the function that this is part of, which thereby gets a frame pointer.
[[gnu::always_inline]] inline Frame frame_of_caller() noexcept {
  const auto* const saved = static_cast<const uintptr_t*>(__builtin_frame_address(0));
  return {reinterpret_cast<uintptr_t>(__builtin_return_address(0)), reinterpret_cast<uintptr_t>(__builtin_dwarf_cfa()),
          *saved};
}

/// Steps out of frames until one goes on at `to`; false: not by rows.
[[nodiscard]] bool step_out_to(uintptr_t to, Frame& frame, const StackPages& pages) noexcept;

}  // namespace poireau::stack
