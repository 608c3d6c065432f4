#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/calls.h"
#include "preload/pools.h"
#include "tracked_alloc/verdict.h"

/// The memory that a call hands on to the kernel, piece by piece, with what arrays and headers in it point at.
namespace poireau::calls {

struct Piece {
  uintptr_t address;  // never 0
  size_t size;        // never 0
  Use use;
  bool certain;  // false: perhaps it is no pointer at all
};

/// What looks at pieces: true stops it.
struct Visitor {
  void* self;
  bool (*visit)(void* self, const Piece& piece) noexcept;
};
/// In the order in which the kernel looks. What can't be read is passed over, after it has been shown itself.
void for_each_piece(const Call& call, const Words& words, Visitor visitor) noexcept;

/// Whether the address is on the stack that the calling thread is on, above this function's frame. A guess where that
/// is an alternate stack.
[[nodiscard]] bool on_stack(uintptr_t address) noexcept;

/// For a report.
[[nodiscard]] tracked_alloc::Block block_of(const pools::Object& object) noexcept;

}  // namespace poireau::calls
