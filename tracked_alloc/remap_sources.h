#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_runs.h"

/// Where runs come from: for each shape a list of idle ones, and a frame whose runs are being opened.
namespace poireau::tracked_alloc::remap::runs {

constexpr uint32_t kNone = 0;

struct alignas(64) Source {
  std::atomic<uint64_t> idle;   // the number of the first listed run, plus one; and, above, how often it has changed
  std::atomic<uint32_t> frame;  // the one whose runs are being opened, plus one
  std::atomic<uint32_t> spare;  // one that two threads made at the same time, plus one
  std::atomic<uint32_t> pages;  // of its frames that have no run retired
  std::atomic<uint64_t> churn;  // pages moved
};
[[gnu::visibility("hidden")]] extern Source sources[kShapeCount];

void push(Run& run) noexcept;
[[nodiscard]] Run* pop(unsigned shape) noexcept;
/// All listed runs of the shape, out of everybody's reach: the first one's number plus one.
[[nodiscard]] uint32_t pop_all(unsigned shape) noexcept;
/// Maps a run that never was, or was retired; it is `held`. nullptr: as for acquire.
[[nodiscard]] Run* open_next(unsigned shape, Refusal& why) noexcept;

/// How long the next runs of the shape are.
[[nodiscard]] unsigned next_shift(unsigned shape) noexcept;
/// Fresh addresses for the run, and what lies there written down; 0: none.
[[nodiscard]] size_t place_for(const Run& run, Refusal& why) noexcept;
/// All of its blocks can be given out.
void fill_free(Run& run) noexcept;

/// How many pages of the frame belong to that word of its runs.
[[nodiscard]] size_t pages_of_word(const Frame& frame, unsigned word) noexcept;
/// Of Frame::opened: no other run of it is to be opened.
constexpr uint32_t kShut = 1 << 16;
/// Gives its memory back: all of its runs are idle, or have gone.
bool drop_memory(Frame& frame) noexcept;

}  // namespace poireau::tracked_alloc::remap::runs
