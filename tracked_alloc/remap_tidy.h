#pragma once

/// What is done now and then: memory given back, blocks of long ago forgotten.
namespace poireau::tracked_alloc::remap::tidy {

/// After each move of a run.
void after_move() noexcept;

}  // namespace poireau::tracked_alloc::remap::tidy
