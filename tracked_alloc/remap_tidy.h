#pragma once

/// What is done now and then: memory given back, blocks of long ago forgotten.
namespace poireau::tracked_alloc::remap::tidy {

/// After each move of a run.
void after_move() noexcept;
/// Nothing is to be placed in this process.
void place_nothing() noexcept;

}  // namespace poireau::tracked_alloc::remap::tidy
