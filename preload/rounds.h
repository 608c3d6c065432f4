#pragma once
#include <cstdint>

#include "tracked_alloc/homes.h"

/// Walks over all homes, a few at a time, that write to the trace what is owed, and again what would go with its oldest
/// file or is asked for by a checkpoint. All with the trace's turn, but where said.
namespace poireau::journal {

/// A record's note: the file of samples that its block is in, 0 if in none; and what is still to be written of it.
/// kGhost: the trace knows of a block that had the home before, and not that it has gone.
constexpr uint32_t kBirthOwed = uint32_t{1} << 31, kDeathOwed = uint32_t{1} << 30, kGhost = uint32_t{1} << 29;
constexpr uint32_t kFile = kGhost - 1;

/// A note has come to owe something. Without a turn.
void owe() noexcept;
/// Writes a birth that nobody could write when it came. Returns the file; 0: there was no room.
[[nodiscard]] uint32_t write_owed_birth(uint32_t note, uint64_t number, const tracked_alloc::Block& block) noexcept;

/// With each event: a few looks, and two copies at most.
void go_rounds() noexcept;
/// At the end of the process: to the end of what is owed.
void finish_rounds() noexcept;
/// In a fork child, before the trace is told. What the parent owes is the parent's to write if it can.
void forget_rounds() noexcept;

/// A checkpoint that somebody has asked for: every block that is alive is in the files from `file` on.
struct Checkpoint {
  enum class State : uint8_t { none, going, done, failed, outgrown } state = State::none;
  uint32_t file = 0;                            // as in its name
  uint64_t live = 0, live_bytes = 0, time = 0;  // nanoseconds of CLOCK_MONOTONIC
};

// Without a turn, by one thread at a time:

/// Begins one, unless one is going. False: there is no trace to write it to.
[[nodiscard]] bool begin_checkpoint() noexcept;
/// A bounded part of it (some 20 us). failed: the trace can't be written, or somebody doesn't come to an end with it,
/// or with a block. outgrown: its first files had to go before what lives there was written again.
[[nodiscard]] Checkpoint step_checkpoint() noexcept;

}  // namespace poireau::journal
