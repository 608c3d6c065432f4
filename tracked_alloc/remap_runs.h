#pragma once
#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_places.h"
#include "tracked_alloc/remap_shapes.h"

/// Frames and runs (remap.h says what they are), and how runs come to be used, die and move on. Nobody holds a lock:
/// a thread may be stopped, or vanish in a fork, anywhere.
namespace poireau::tracked_alloc::remap::runs {

constexpr unsigned kWords = region::kChunkPages / 64;

/// listed: with its shape's idle runs; held: a stripe takes its blocks; out: all are given out; moving: all are dead,
/// and who freed the last moves it; stuck: that could not be done, yet.
enum State : uint32_t { unopened, listed, held, out, moving, stuck };

struct alignas(64) Run {
  std::atomic<uint64_t> free[kWords];  // blocks to be given out
  std::atomic<uint64_t> standing;      // the state, and how many blocks are not dead: given out or not
  std::atomic<size_t> first;           // its page
  std::atomic<size_t> to;              // while it is moving: where to; else 0
  std::atomic<uint32_t> next;          // of those listed, plus one
  std::atomic<uint32_t> single;        // blocks closed by themselves
  uint32_t frame;
  uint8_t number, shape, shift;
  uint8_t judged;               // by which sweep; marks.cc's
  std::atomic<uint8_t> filled;  // by words of `free`: the kernel has been told to map those pages
  std::atomic<uint8_t> engine;  // whether it knows the run's addresses, see below
  uint16_t blocks;
};

enum Acquaintance : uint8_t { strange, entering, entered };

constexpr uint64_t standing(State state, uint64_t left) noexcept { return uint64_t{state} << 32 | left; }
constexpr State state_of(uint64_t standing) noexcept { return static_cast<State>(standing >> 32); }
constexpr uint32_t left_of(uint64_t standing) noexcept { return static_cast<uint32_t>(standing); }

struct Frame {
  uint32_t first_run;
  uint8_t shape, shift;
  bool lengthened;                // than the shape's blocks alone would want
  std::atomic<uint8_t> touched;   // by words of its runs
  std::atomic<uint32_t> retired;  // of those opened
  std::atomic<uint32_t> opened;   // runs
  size_t offset;                  // in the arena
  uint32_t seen;                  // runs that are idle; trim's
  std::atomic<bool> rested;       // all were, when trim last looked
};

constexpr size_t kMostRuns = size_t{1} << 22, kMostFrames = size_t{1} << 20;
constexpr size_t kRunTable = size_t{160} << 30, kFrameTable = size_t{176} << 30;
inline Run* const table = reinterpret_cast<Run*>(region::kRemapTables + kRunTable);
inline Frame* const frames = reinterpret_cast<Frame*>(region::kRemapTables + kFrameTable);
[[gnu::visibility("hidden")]] extern std::atomic<uint32_t> frame_count;  // whose records are there

[[nodiscard]] uint32_t end_of_runs() noexcept;  // numbers are below, but not all of them have been opened
inline Run& run(uint32_t number) noexcept { return table[number]; }
inline const Shape& shape_of(const Run& run) noexcept { return kShapes[run.shape]; }
inline uint32_t number_of(const Run& run) noexcept { return static_cast<uint32_t>(&run - table); }
/// Calls visit(Run&) for each run that has ever been opened.
template <typename Visit>
void for_each(Visit&& visit) noexcept {
  const uint32_t end = frame_count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < end; ++i) {
    const Frame& frame = frames[i];
    const uint32_t opened = frame.opened.load(std::memory_order_acquire);  // or more
    for (uint32_t n = 0; n < opened && n < kShapes[frame.shape].slots; ++n) visit(run(frame.first_run + n));
  }
}

inline places::Entry& entry_of(const Run& run, unsigned n) noexcept {
  return places::entries[run.first.load(std::memory_order_relaxed) + n * shape_of(run).group];
}
inline size_t slot_offset(const Run& run, unsigned n) noexcept {  // in the arena
  const Shape& shape = shape_of(run);
  return frames[run.frame].offset + n * shape.group * region::kPage +
         slot_in(shape, run.number, n) * size_t{shape.capacity};
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

/// Moves on those that could not be moved when they died.
void move_stuck() noexcept;
/// Gives back the memory of frames that are idle; rested: and were so the last time. Returns how many.
enum class Trim : uint8_t { idle, rested };
size_t trim_frames(Trim which) noexcept;
/// In a fork child: whoever was at it is no more.
void trim_again() noexcept;

struct Sums {
  std::atomic<uint64_t> handed;                   // bytes of blocks handed to stripes, and not given out anew since
  std::atomic<uint64_t> dead;                     // bytes of those that are dead, roughly
  std::atomic<uint64_t> single;                   // of those closed by themselves
  std::atomic<uint64_t> lengthened;               // of frames that are
  std::atomic<uint64_t> retiring;                 // of frames of which runs are retired, and not all
  std::atomic<uint64_t> physical;                 // of frames that have been used
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
/// That word of the run's frame is used.
void touch(const Run& run, unsigned word) noexcept;

// In a fork child, where threads are no more that had runs in their hands: all are taken from everybody; those kept are
// some stripe's; the others are listed, or moved when they are dead.
void drop_all() noexcept;
void keep(Run& run) noexcept;
void list_the_others() noexcept;

}  // namespace poireau::tracked_alloc::remap::runs
