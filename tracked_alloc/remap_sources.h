#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_runs.h"

/// Where runs come from: for each shape a list of idle ones, and frames with runs to be opened.
namespace poireau::tracked_alloc::remap::runs {

constexpr uint32_t kNone = 0;

struct alignas(64) Source {
  std::atomic<uint64_t> idle;   // the number of the first listed run, plus one; and, above, how often it has changed
  std::atomic<uint32_t> frame;  // one that has runs to be opened, perhaps, plus one
  std::atomic<uint32_t> look;   // where to look for another
  std::atomic<uint64_t> pages;  // of its runs
  std::atomic<uint64_t> churn;  // of them, moved
};
[[gnu::visibility("hidden")]] extern Source sources[kShapeCount];

void push(Run& run) noexcept;
[[nodiscard]] Run* pop(unsigned shape) noexcept;
/// All listed runs of the shape, out of everybody's reach: the first one's number plus one.
[[nodiscard]] uint32_t pop_all(unsigned shape) noexcept;
/// Maps a run that never was, or was retired; it is `held`. nullptr: as for acquire.
[[nodiscard]] Run* open_next(unsigned shape, Refusal& why) noexcept;
/// It is `unopened`, and may be opened again. With the last one its frame goes.
void close_slot(const Run& run) noexcept;

/// Shorter ones are not opened, and not moved, while there can be longer ones.
[[nodiscard]] unsigned least_shift(unsigned shape) noexcept;
/// Fresh addresses for the run, and what lies there written down; 0: none.
[[nodiscard]] size_t place_for(const Run& run, Refusal& why) noexcept;
/// All of its blocks can be given out.
void fill_free(Run& run) noexcept;

// In a fork child: which frames have bins is found out from their runs.
void recount() noexcept;

}  // namespace poireau::tracked_alloc::remap::runs
