#pragma once
#include <cstdint>

/// Walks over all homes that write to the trace what is owed, and what would go with its oldest file or is asked for by
/// a checkpoint. All with the trace's turn, but where said.
namespace poireau::journal {

/// A checkpoint that somebody has asked for: every block that is alive is in the files from `file` on.
struct Checkpoint {
  enum class State : uint8_t { none, going, done, failed } state = State::none;
  uint32_t file = 0;
  uint64_t live = 0, live_bytes = 0, time = 0;  // nanoseconds of CLOCK_MONOTONIC
};

// Without a turn:

/// Begins one, unless one is going. False: there is no trace to write it to.
[[nodiscard]] bool begin_checkpoint() noexcept;
/// A bounded part of it (some 20 us).
[[nodiscard]] Checkpoint step_checkpoint() noexcept;

}  // namespace poireau::journal
