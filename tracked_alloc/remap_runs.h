#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_places.h"
#include "tracked_alloc/remap_shapes.h"
#include "tracked_alloc/remap_slabs.h"

/// Runs and their frames (remap.h says what they are), and how runs come to be used, die and move on. Nobody holds a
/// lock: a thread may be stopped, or vanish in a fork, anywhere.
namespace poireau::tracked_alloc::remap::runs {

constexpr unsigned kWords = region::kChunkPages / 64;

/// unopened: it has no addresses. listed: with its shape's idle runs; held: a stripe takes its blocks; out: all are
/// given out; moving: all are dead, and who freed the last moves it; stuck: that could not be done, yet.
enum State : uint32_t { unopened, listed, held, out, moving, stuck };

struct alignas(64) Run {
  std::atomic<uint64_t> free[kWords];  // blocks to be given out
  std::atomic<uint64_t> standing;      // the state, and how many blocks are not dead: given out or not
  std::atomic<size_t> first;           // its page
  std::atomic<size_t> to;              // while it is moving, or opened: where to; else 0
  std::atomic<uint32_t> next;          // of those listed, plus one
  std::atomic<uint32_t> single;        // blocks closed by themselves
  size_t offset;                       // of its frame, in the arena
  uint16_t lane;
  uint8_t shape, shift;
  uint32_t judged;              // by which sweep; marks.cc's
  std::atomic<bool> rested;     // idle when trim last looked
  std::atomic<uint8_t> filled;  // by words of `free`: the kernel has been told to map those pages
  std::atomic<uint8_t> engine;  // whether it knows the run's addresses, see below
  uint16_t blocks;
};

enum Acquaintance : uint8_t { strange, entering, entered };

constexpr uint64_t standing(State state, uint64_t left) noexcept { return uint64_t{state} << 32 | left; }
constexpr State state_of(uint64_t standing) noexcept { return static_cast<State>(standing >> 32); }
constexpr uint32_t left_of(uint64_t standing) noexcept { return static_cast<uint32_t>(standing); }

/// A bin, and the runs in it: kMostSlots numbers for each, the first of which are used.
struct Frame {
  std::atomic<uint32_t> slots;  // the shape, and above whose runs may be opened; kNoShape: there is no bin
  std::atomic<uint32_t> next;   // of those without one, plus one
  slabs::Bin bin;
};
constexpr uint32_t slots_of(unsigned shape, uint32_t open) noexcept { return open << 8 | shape; }
constexpr unsigned shape_of_slots(uint32_t slots) noexcept { return slots & 0xff; }
constexpr uint32_t all_slots(unsigned shape) noexcept { return slots_of(shape, (1u << kShapes[shape].slots) - 1); }

constexpr size_t kMostRuns = size_t{1} << 22, kMostFrames = kMostRuns / kMostSlots;
constexpr size_t kRunTable = size_t{160} << 30, kFrameTable = size_t{176} << 30;
inline Run* const table = reinterpret_cast<Run*>(region::kRemapTables + kRunTable);
inline Frame* const frames = reinterpret_cast<Frame*>(region::kRemapTables + kFrameTable);
[[gnu::visibility("hidden")]] extern std::atomic<uint32_t> frame_count;  // whose records are there

[[nodiscard]] uint32_t end_of_runs() noexcept;  // numbers are below, but not all of them have been opened
inline Run& run(uint32_t number) noexcept { return table[number]; }
inline const Shape& shape_of(const Run& run) noexcept { return kShapes[run.shape]; }
inline uint32_t number_of(const Run& run) noexcept { return static_cast<uint32_t>(&run - table); }
inline Frame& frame_of(const Run& run) noexcept { return frames[number_of(run) / kMostSlots]; }
inline slabs::Slab& slab_of(const Run& run) noexcept { return slabs::table[frame_of(run).bin.slab]; }
/// Calls visit(Run&) for each run that has addresses.
template <typename Visit>
void for_each(Visit&& visit) noexcept {
  const uint32_t end = end_of_runs();
  for (uint32_t n = 0; n < end; ++n)
    if (state_of(run(n).standing.load(std::memory_order_acquire)) != unopened) visit(run(n));
}

inline places::Entry& entry_of(const Run& run, unsigned n) noexcept {
  return places::entries[run.first.load(std::memory_order_relaxed) + n * shape_of(run).group];
}
inline size_t slot_offset(const Run& run, unsigned n) noexcept {  // in the arena
  const Shape& shape = shape_of(run);
  return run.offset + n * shape.group * region::kPage + offset_in(shape, run.lane, n);
}

/// A run of this shape to take blocks from, which is `held` then; nullptr: there is none, and `why` says so.
[[nodiscard]] Run* acquire(unsigned shape, Refusal& why) noexcept;
/// Takes up to 64 blocks of it; 0: it had none. If those were the last, the run is out and the caller's no more, and
/// `more` is false.
[[nodiscard]] uint64_t take_blocks(Run& run, unsigned& word, bool& more) noexcept;

/// One block more is dead. True: it was the last, and the run was moved to where nobody has been.
bool bury(Run& run) noexcept;
/// Keeps a run where it is until it is buried once more. False: it is on its way, or not in use.
[[nodiscard]] bool pin(Run& run) noexcept;
/// `count` dead blocks of a pinned run, whose bits are in `free` now, are to be given out again.
void revive(Run& run, uint32_t count) noexcept;

/// Unmaps a run that is `moving`, and ours alone: it is unopened then, and its slot is still to be closed.
[[nodiscard]] bool retire(Run& run) noexcept;
/// Moves on those that could not be moved when they died.
void move_stuck() noexcept;
/// Gives idle runs back, and with the last ones of a slab its memory; rested: that were idle the last time, too.
enum class Trim : uint8_t { idle, rested };
void trim_runs(Trim which) noexcept;
/// Whether it's worth while.
[[nodiscard]] bool much_is_idle() noexcept;
/// In a fork child: whoever was at it is no more.
void trim_again() noexcept;

struct Sums {
  std::atomic<uint64_t> handed;                   // bytes of blocks handed to stripes, and not given out anew since
  std::atomic<uint64_t> dead;                     // bytes of those that are dead, roughly
  std::atomic<uint64_t> single;                   // of those closed by themselves
  std::atomic<uint64_t> frames;                   // that have a bin
  std::atomic<uint64_t> moved_bytes;              // of runs, ever
  std::atomic<uint64_t> moved, closed, recycled;  // blocks, ever
  std::atomic<uint64_t> refused[static_cast<size_t>(Refusal::kinds)];
};
[[gnu::visibility("hidden")]] extern Sums sums;
/// Bytes of blocks that live, roughly.
inline uint64_t live_bytes() noexcept {
  const uint64_t handed = sums.handed.load(std::memory_order_relaxed);
  return handed - std::min(handed, sums.dead.load(std::memory_order_relaxed));
}
/// Whether that is little. Looked at now and then.
[[gnu::visibility("hidden")]] extern std::atomic<bool> little_lives;

void refuse(Refusal why) noexcept;
using Told = void (*)(Refusal why) noexcept;
[[gnu::visibility("hidden")]] extern Told tell_refused;
/// The eighths of its slab that a word of its blocks lies in.
[[nodiscard]] unsigned eighths_of(const Run& run, unsigned word) noexcept;

// In a fork child, where threads are no more that had runs in their hands: all are taken from everybody; those kept are
// some stripe's; the others are listed, or moved when they are dead.
void drop_all() noexcept;
void keep(Run& run) noexcept;
void list_the_others() noexcept;

}  // namespace poireau::tracked_alloc::remap::runs
