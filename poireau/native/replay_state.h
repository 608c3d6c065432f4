#pragma once
#include <atomic>
#include <cstdint>

#include "poireau/native/replay_run.h"

/// What all threads of a replay share.
namespace poireau::replay {

/// A variable of the recorded program. `state`: how many calls there have been on it; above, the thread that it belongs
/// to (its number and one), and whether that one is at it.
struct Slot {
  std::atomic<uint64_t> state;
  void* ptr;
};
constexpr uint64_t kBusy = uint64_t{1} << 63;
constexpr uint64_t owned_by(uint32_t thread) noexcept { return uint64_t{thread + 1} << 32; }

/// What a worker needs; used again by those that come later.
struct Desk {
  Desk *next, *next_free;
  std::atomic<uint64_t> at;  // the number of the call that is next here; kIdle: nobody is here
  Tally tally;
};
constexpr uint64_t kIdle = UINT64_MAX;

struct State {
  const Calls* calls;
  Wishes wishes;
  Stand stands[kMostFunctions];
  Slot* slots;
  uint64_t* made;  // calls of each thread
  bool alone;      // one thread makes them all
  uint64_t first_tick;
  double ticks_per_nanosecond;
  std::atomic<Desk*> desks;  // all that there are
  // Workers that wait for another's call, that there are, and how often one of them has come on; threads that are to be
  // started, and that have been.
  std::atomic<uint32_t> waiting, running, progress, asked, started;
};
extern constinit State the;

/// `map`, or the end.
void* need(size_t size) noexcept;
/// Has a thread started for a recorded one, soon.
void start(uint32_t thread) noexcept;

constexpr int64_t kLongSleep = 200'000'000;  // nanoseconds

}  // namespace poireau::replay
