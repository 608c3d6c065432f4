#include "tracked_alloc/remap_sources.h"

#include <algorithm>
#include <bit>

#include "tracked_alloc/remap_arena.h"

namespace poireau::tracked_alloc::remap::runs {
namespace {

constexpr size_t kPage = region::kPage;

constinit std::atomic<uint32_t> run_end{0};

/// Long runs where few blocks live, and are freed as fast as they are allocated: of 512 pages one costs an eighth of
/// what a page costs in short ones to move, and takes 2 MiB. So much is to spare for them.
bool may_lengthen(unsigned shift) noexcept {
  constexpr uint64_t kSpare = 8 << 20;
  return sums.lengthened.load(std::memory_order_relaxed) + (kPage << shift) <= kSpare + live_bytes() / 4;
}

constexpr uint64_t kLeastPages = 16;
/// For a quarter of the pages that the shape has already, for the first of its runs takes all of a frame's memory; and
/// the least that has a block.
unsigned usual_shift(unsigned shape) noexcept {
  const uint64_t pages = sources[shape].pages.load(std::memory_order_relaxed);
  const uint64_t wanted = std::max<uint64_t>({pages / 4, kShapes[shape].group, kLeastPages});
  return std::min<unsigned>(static_cast<unsigned>(std::bit_width(wanted - 1)), places::kUnitShift);
}

/// The numbers of records of a table, which is mapped up to the last.
struct Numbers {
  const uintptr_t table;
  const size_t size, most;
  std::atomic<uint32_t> taken{0};
  std::atomic<uintptr_t> mapped{0};  // bytes

  bool take(uint32_t count, uint32_t& out) noexcept {
    constexpr size_t kStep = 64 << 10;
    uint32_t first = taken.load(std::memory_order_relaxed);
    do {
      if (first + count > most) return false;
    } while (!taken.compare_exchange_weak(first, first + count, std::memory_order_relaxed));
    out = first;
    uintptr_t end = mapped.load(std::memory_order_acquire);
    while (end < (first + count) * size) {
      if (!places::have_table(table + end, kStep)) return false;
      if (mapped.compare_exchange_strong(end, end + kStep, std::memory_order_acq_rel)) end += kStep;
    }
    return true;
  }
};
constinit Numbers run_numbers{region::kRemapTables + kRunTable, sizeof(Run), kMostRuns};
constinit Numbers frame_numbers{region::kRemapTables + kFrameTable, sizeof(Frame), kMostFrames};

/// Another frame, as the one whose runs are opened, if `before` still is.
bool add_frame(unsigned shape_number, uint32_t before, Refusal& why) noexcept {
  Source& source = sources[shape_number];
  const Shape& shape = kShapes[shape_number];
  if (const uint32_t spare = source.spare.exchange(0, std::memory_order_acq_rel); spare != 0) {
    if (!source.frame.compare_exchange_strong(before, spare, std::memory_order_acq_rel))
      source.spare.store(spare, std::memory_order_release);
    return true;
  }
  const unsigned shift = next_shift(shape_number);
  why = Refusal::memory;
  const size_t offset = arena::take(shift);
  if (offset == SIZE_MAX) return false;
  uint32_t number, first_run;
  if (!run_numbers.take(shape.slots, first_run) || !frame_numbers.take(1, number)) {
    arena::give_back(offset, shift);
    return false;
  }
  Frame& frame = frames[number];
  frame.offset = offset;
  frame.lengthened = shift > usual_shift(shape_number);
  if (frame.lengthened) sums.lengthened.fetch_add(kPage << shift, std::memory_order_relaxed);
  frame.first_run = first_run;
  frame.shape = static_cast<uint8_t>(shape_number);
  frame.shift = static_cast<uint8_t>(shift);
  for (uint32_t i = 0; i < shape.slots; ++i) {
    Run& its = run(first_run + i);
    its.frame = number;
    its.number = static_cast<uint8_t>(i);
    its.shape = static_cast<uint8_t>(shape_number);
    its.shift = static_cast<uint8_t>(shift);
    its.blocks = static_cast<uint16_t>((1u << shift) / shape.group);
  }
  uint32_t end = frame_count.load(std::memory_order_relaxed);
  while (end <= number && !frame_count.compare_exchange_weak(end, number + 1, std::memory_order_release)) {
  }
  uint32_t last = run_end.load(std::memory_order_relaxed);
  while (last < first_run + shape.slots &&
         !run_end.compare_exchange_weak(last, first_run + shape.slots, std::memory_order_release)) {
  }
  source.pages.fetch_add(1u << shift, std::memory_order_relaxed);
  if (!source.frame.compare_exchange_strong(before, number + 1, std::memory_order_acq_rel))
    source.spare.store(number + 1, std::memory_order_release);
  return true;
}

bool open(Run& run, Refusal& why) noexcept {
  const size_t pages = size_t{1} << run.shift;
  if (!arena::take_mapping(pages)) return why = Refusal::mappings, false;
  const size_t page = place_for(run, why);
  if (page != 0) {
    if (arena::show(frames[run.frame].offset, pages, places::address_of(page))) {
      run.first.store(page, std::memory_order_relaxed);
      fill_free(run);
      run.standing.store(standing(held, run.blocks), std::memory_order_release);
      return true;
    }
    why = Refusal::mappings;
    places::leave(page, run.shift);
  }
  arena::give_mapping_back(pages);
  return false;
}

}  // namespace

constinit std::atomic<uint32_t> frame_count{0};
[[gnu::section(".lbss")]] constinit Source sources[kShapeCount]{};

uint32_t end_of_runs() noexcept { return run_end.load(std::memory_order_acquire); }

void push(Run& run) noexcept {
  Source& source = sources[run.shape];
  uint64_t head = source.idle.load(std::memory_order_relaxed);
  const uint64_t self = number_of(run) + 1;
  do {
    run.next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
  } while (!source.idle.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | self, std::memory_order_release,
                                              std::memory_order_relaxed));
}

Run* pop(unsigned shape) noexcept {
  Source& source = sources[shape];
  uint64_t head = source.idle.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(head) != kNone) {
    Run& first = run(static_cast<uint32_t>(head) - 1);
    const uint64_t next = first.next.load(std::memory_order_relaxed);
    if (source.idle.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | next, std::memory_order_acquire))
      return &first;
  }
  return nullptr;
}

uint32_t pop_all(unsigned shape) noexcept {
  Source& source = sources[shape];
  uint64_t head = source.idle.load(std::memory_order_acquire);
  while (!source.idle.compare_exchange_weak(head, ((head >> 32) + 1) << 32, std::memory_order_acquire)) {
  }
  return static_cast<uint32_t>(head);
}

void fill_free(Run& run) noexcept {
  for (unsigned word = 0; word < kWords; ++word) {
    const unsigned blocks = run.blocks - std::min<unsigned>(run.blocks, word * 64);
    run.free[word].store(blocks >= 64 ? ~uint64_t{0} : (uint64_t{1} << blocks) - 1, std::memory_order_relaxed);
  }
}

size_t pages_of_word(const Frame& frame, unsigned word) noexcept {
  const size_t all = size_t{1} << frame.shift, full = 64 * size_t{kShapes[frame.shape].group};
  return std::min(full, all - std::min(all, word * full));
}

unsigned next_shift(unsigned shape) noexcept {
  constexpr uint64_t kFew = 4096;
  const unsigned usual = usual_shift(shape);
  const uint64_t churn = sources[shape].churn.load(std::memory_order_relaxed);
  const unsigned most = churn < kFew ? 4 : places::kUnitShift;
  for (unsigned shift = std::min(static_cast<unsigned>(std::bit_width(churn / 8)), most); shift > usual; --shift)
    if (may_lengthen(shift)) return shift;
  return usual;
}

size_t place_for(const Run& run, Refusal& why) noexcept {
  const size_t page = places::take(run.shift);
  if (page == 0)
    why = Refusal::addresses;
  else
    places::settle(page, {number_of(run), run.number, run.shape, run.shift});
  return page;
}

Run* open_next(unsigned shape, Refusal& why) noexcept {
  Source& source = sources[shape];
  why = Refusal::sealed;
  if (arena::sealed()) return nullptr;
  for (int attempt = 0; attempt < 16; ++attempt) {
    const uint32_t current = source.frame.load(std::memory_order_acquire);
    if (current != 0) {
      Frame& frame = frames[current - 1];
      uint32_t n = frame.opened.load(std::memory_order_relaxed);
      while (n < kShapes[shape].slots) {
        if (!frame.opened.compare_exchange_weak(n, n + 1, std::memory_order_acq_rel)) continue;
        Run& next = run(frame.first_run + n);
        if (open(next, why)) return &next;
        uint32_t after = n + 1;
        frame.opened.compare_exchange_strong(after, n, std::memory_order_relaxed);
        return nullptr;
      }
    }
    if (!add_frame(shape, current, why)) return nullptr;
  }
  why = Refusal::busy;
  return nullptr;
}

bool drop_memory(Frame& frame) noexcept {
  if (!arena::drop(frame.offset, size_t{1} << frame.shift)) return false;
  const unsigned words = frame.touched.exchange(0, std::memory_order_relaxed);
  for (unsigned word = 0; word < kWords; ++word)
    if ((words >> word & 1) != 0)
      sums.physical.fetch_sub(pages_of_word(frame, word) * kPage, std::memory_order_relaxed);
  return true;
}

}  // namespace poireau::tracked_alloc::remap::runs
