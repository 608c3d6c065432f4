#pragma once
#include <cstdint>
#include <string_view>

#include "tracked_alloc/homes.h"

/// What is told of each sample: to the embedded trace, which remembers in the block's record what it owes and repairs
/// it later (checkpoints, and deaths that found no room), and to whoever listens besides.
namespace poireau::journal {

/// A block that has just got its home, by its address; nobody else knows of it yet.
void born(const void* block) noexcept;
/// A claimed block, resized in place and not yet given back.
void resized(const tracked_alloc::Claim& claim) noexcept;
/// A claimed block that is about to be finished, by the function of that name.
void died(const tracked_alloc::Claim& claim, const tracked_alloc::Death& death, std::string_view function) noexcept;

}  // namespace poireau::journal
