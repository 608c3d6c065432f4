#pragma once
#include "preload/sampled.h"

/// How much of a sampled block the program may use. A program that asks may resize its blocks only when they are full.
/// Were a sampled one full sooner than it would be beneath, it would be resized more often than others, each time
/// drawn anew, and too few would stay sampled. So once the program has asked, a block has as much room as the
/// allocator beneath would give it. Until then it has exactly what was asked for, and its overflow begins there.
namespace poireau::sampled::room {

/// The program asks for a block's usable size.
void asked() noexcept;

/// How much there is to be for a request; `before`: what could be used of the block that is resized, 0: none is.
[[nodiscard]] size_t of(const Request& request, size_t before) noexcept;

/// Whether a block with room for `before` bytes, given `size`, gets a room that depends on both: some allocators leave
/// it where it is, others give it more than they would a new one.
[[nodiscard]] bool matters(size_t before, size_t size) noexcept;

}  // namespace poireau::sampled::room
