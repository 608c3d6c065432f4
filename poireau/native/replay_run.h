#pragma once
#include <cstddef>
#include <cstdint>

#include "poireau/native/replay_calls.h"
#include "poireau/native/replay_functions.h"
#include "poireau/native/replay_measure.h"

/// Makes the calls of a file again, each thread's in its order, and each when the one on its slot before it is done.
namespace poireau::replay {

enum class Touch : uint8_t { none, byte, page, all };
constexpr size_t kSizeClasses = 65;  // sizes of so many bits

struct Wishes {
  uint32_t threads = 0;  // recorded threads are dealt to so many, in the order of time; 0: each is one
  Touch touch = Touch::page;
  uint64_t most_memory = 0;  // in use; 0: any
  double pace = 0;           // so many times as fast as recorded; 0: as fast as can be
  uint64_t ahead = 1000;     // calls that a thread may be before the others
};

/// What a thread of ours has seen, and all of them together.
struct Tally {
  uint64_t sizes[kSizeClasses];  // of births and resizes
  uint64_t waits, waited;        // for other threads' calls; cycles
  uint64_t holds;                // of who was too far ahead
  uint64_t failed, misaligned;
  Histogram functions[];  // by their number
};

struct Result {
  const Tally* tally;
  const uint64_t* calls;  // of each thread
  Usage before, after;
  uint64_t peak, before_peak, own;  // bytes in memory: the most, those that were there before, our own that came later
  bool peak_is_ours;                // since the beginning of the calls; otherwise the process's
  double nothing;                   // cycles that each call seems to take more than it does
};

/// Says what is wrong and ends the process, from whatever thread.
[[noreturn]] void fail(const char* what) noexcept;

/// Once, and by the process's first thread, which is then the recording's.
Result run(const Calls& calls, const Wishes& wishes) noexcept;

}  // namespace poireau::replay
