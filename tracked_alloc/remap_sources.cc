#include "tracked_alloc/remap_sources.h"

#include <algorithm>
#include <bit>

#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_numbers.h"

namespace poireau::tracked_alloc::remap::runs {
namespace {

constexpr size_t kPage = region::kPage;

unsigned log2_up(uint64_t n) noexcept { return static_cast<unsigned>(std::bit_width(n - 1)); }
/// A run has one group at least.
unsigned shortest(const Shape& shape) noexcept { return std::max(slabs::kLeastShift, log2_up(shape.group)); }
/// The longer a run, the longer the dead wait for its last block: few bytes wait for each other, while there are few.
unsigned longest(const Shape& shape) noexcept {
  constexpr uint64_t kMostBytes = 64 << 10;
  const uint64_t bytes = std::max(kMostBytes, slabs::promised.load(std::memory_order_relaxed) / 4096);
  return std::max(shortest(shape), std::min(slabs::kMostShift, log2_up(bytes / shape.capacity * shape.group)));
}

/// So long that it is a quarter of its shape's runs, and another slab is little beside what there is.
unsigned usual_shift(unsigned shape_number) noexcept {
  const uint64_t all = slabs::promised.load(std::memory_order_relaxed) / kPage / 32;
  const uint64_t its = sources[shape_number].pages.load(std::memory_order_relaxed) / 4;
  const Shape& shape = kShapes[shape_number];
  return std::clamp(static_cast<unsigned>(std::bit_width(std::min(all, its))), shortest(shape), longest(shape));
}

/// Where blocks are freed as fast as they are allocated long runs pay: of 512 pages one costs an eighth of what a page
/// costs in short ones to move. For that so much memory may be unused.
bool may_lengthen(unsigned shift) noexcept {
  constexpr uint64_t kSpare = 3 << 20;
  const uint64_t promised = slabs::promised.load(std::memory_order_relaxed);
  return promised + (kPage << shift) <= sums.handed.load(std::memory_order_relaxed) + kSpare + live_bytes() / 4;
}

/// How long the next run of the shape is to be.
unsigned wanted_shift(unsigned shape_number) noexcept {
  constexpr uint64_t kFew = 4096;
  const Shape& shape = kShapes[shape_number];
  const unsigned usual = usual_shift(shape_number), most = longest(shape);
  if (usual == most || sources[shape_number].churn.load(std::memory_order_relaxed) < kFew) return usual;
  return slabs::has_room(most, shape.bin) || may_lengthen(most) ? most : usual;
}

constinit Numbers frame_numbers{region::kRemapTables + kFrameTable, sizeof(Frame), kMostFrames};
constinit Numbers run_numbers{region::kRemapTables + kRunTable, sizeof(Run), kMostRuns};
/// Frames without a bin: the first one's number plus one; and, above, how often it has changed.
constinit std::atomic<uint64_t> unused{0};

void push_unused(uint32_t number) noexcept {
  uint64_t head = unused.load(std::memory_order_relaxed);
  do {
    frames[number].next.store(static_cast<uint32_t>(head), std::memory_order_relaxed);
  } while (!unused.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | (number + 1), std::memory_order_release,
                                         std::memory_order_relaxed));
}

bool take_number(uint32_t& out) noexcept {
  uint64_t head = unused.load(std::memory_order_acquire);
  while (static_cast<uint32_t>(head) != kNone) {
    out = static_cast<uint32_t>(head) - 1;
    const uint64_t next = frames[out].next.load(std::memory_order_relaxed);
    if (unused.compare_exchange_weak(head, ((head >> 32) + 1) << 32 | next, std::memory_order_acquire)) return true;
  }
  const size_t next = frame_numbers.taken.load(std::memory_order_relaxed);
  if (!run_numbers.reach((next + 1) * kMostSlots) || !frame_numbers.take(out)) return false;
  if (!run_numbers.reach((out + size_t{1}) * kMostSlots)) return false;
  frames[out].slots.store(slots_of(kNoShape, 0), std::memory_order_relaxed);
  uint32_t end = frame_count.load(std::memory_order_relaxed);
  while (end <= out && !frame_count.compare_exchange_weak(end, out + 1, std::memory_order_release)) {
  }
  return true;
}

/// Another frame, in a slab where there is room or in a new one.
bool add_frame(unsigned shape_number, uint32_t& number) noexcept {
  const Shape& shape = kShapes[shape_number];
  const unsigned wanted = wanted_shift(shape_number), least = shortest(shape);
  unsigned shift = wanted;
  slabs::Bin bin;
  const auto find = [&](unsigned from, unsigned to, auto&& take) {
    for (shift = from; !take(shift, shape.bin, bin); --shift)
      if (shift <= to) return false;
    return true;
  };
  const auto find_among_others = [&] { return find(wanted, least_shift(shape_number), slabs::take); };
  bool found = find_among_others();
  if (!found && much_is_idle()) {
    trim_runs(Trim::rested);  // what was idle when the last slab was made
    found = find_among_others();
  }
  if (!found && !find(wanted, least, slabs::take_new) && !find(wanted, least, slabs::take)) return false;
  if (!take_number(number)) return slabs::give_back(bin, shape.bin), false;
  slabs::Slab& slab = slabs::table[bin.slab];
  slab.sparse.store(shape.group > 1, std::memory_order_relaxed);
  for (unsigned i = 0; i < shape.slots; ++i) {
    Run& its = run(number * kMostSlots + i);
    its.offset = slab.offset;
    its.lane = lane_of(bin.at, i);
    its.shape = static_cast<uint8_t>(shape_number);
    its.shift = static_cast<uint8_t>(shift);
    its.blocks = static_cast<uint16_t>((1u << shift) / shape.group);
  }
  frames[number].bin = bin;
  frames[number].slots.store(all_slots(shape_number), std::memory_order_release);
  sums.frames.fetch_add(1, std::memory_order_relaxed);
  return true;
}

/// A run of the frame that is unopened, and ours from here on; nullptr: it has none, or is another shape's.
Run* take_slot(uint32_t number, unsigned shape) noexcept {
  std::atomic<uint32_t>& slots = frames[number].slots;
  uint32_t now = slots.load(std::memory_order_acquire);
  while (shape_of_slots(now) == shape && now >> 8 != 0) {
    const unsigned n = static_cast<unsigned>(std::countr_zero(now >> 8));
    if (slots.compare_exchange_weak(now, now & ~slots_of(0, 1u << n), std::memory_order_acq_rel))
      return &run(number * kMostSlots + n);
  }
  return nullptr;
}

/// Of the frame that had one the last time, or of one that lost some since.
Run* find_slot(unsigned shape) noexcept {
  constexpr uint32_t kMany = 64;
  Source& source = sources[shape];
  const unsigned least = least_shift(shape);
  const auto try_one = [&](uint32_t number) -> Run* {
    if (run(number * kMostSlots).shift < least) return nullptr;
    Run* const found = take_slot(number, shape);
    if (found != nullptr) source.frame.store(number + 1, std::memory_order_relaxed);
    return found;
  };
  if (const uint32_t last = source.frame.load(std::memory_order_relaxed); last != 0)
    if (Run* const found = try_one(last - 1); found != nullptr) return found;
  const uint32_t end = frame_count.load(std::memory_order_acquire);
  uint32_t number = source.look.load(std::memory_order_relaxed);
  for (uint32_t left = std::min(kMany, end); left > 0; --left) {
    number = number + 1 < end ? number + 1 : 0;
    if (Run* const found = try_one(number); found != nullptr)
      return source.look.store(number, std::memory_order_relaxed), found;
  }
  source.look.store(number, std::memory_order_relaxed);
  return nullptr;
}

bool open(Run& run, Refusal& why) noexcept {
  const size_t pages = size_t{1} << run.shift;
  if (!arena::take_mapping(pages)) return why = Refusal::mappings, false;
  const size_t page = place_for(run, why);
  if (page != 0) {
    run.to.store(page, std::memory_order_relaxed);
    if (arena::show(run.offset, pages, places::address_of(page))) {
      run.first.store(page, std::memory_order_relaxed);
      run.filled.store(0, std::memory_order_relaxed);
      run.rested.store(false, std::memory_order_relaxed);
      fill_free(run);
      sources[run.shape].pages.fetch_add(pages, std::memory_order_relaxed);
      run.standing.store(standing(held, run.blocks), std::memory_order_release);
      run.to.store(0, std::memory_order_relaxed);
      return true;
    }
    why = Refusal::mappings;
    run.to.store(0, std::memory_order_relaxed);
    places::leave(page, run.shift);
  }
  arena::give_mapping_back(pages);
  return false;
}

/// All of its runs are unopened; nobody else has it.
void release(uint32_t number, const Shape& shape) noexcept {
  slabs::give_back(frames[number].bin, shape.bin);
  sums.frames.fetch_sub(1, std::memory_order_relaxed);
  push_unused(number);
}

}  // namespace

constinit std::atomic<uint32_t> frame_count{0};
[[gnu::section(".lbss")]] constinit Source sources[kShapeCount]{};

uint32_t end_of_runs() noexcept { return frame_count.load(std::memory_order_acquire) * kMostSlots; }

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

unsigned least_shift(unsigned shape) noexcept {
  constexpr unsigned kShorter = 3;
  const unsigned wanted = wanted_shift(shape), least = shortest(kShapes[shape]);
  return wanted > usual_shift(shape) ? wanted : std::max(least, wanted - std::min(wanted, kShorter));
}

size_t place_for(const Run& run, Refusal& why) noexcept {
  const size_t page = places::take(run.shift);
  if (page == 0)
    why = Refusal::addresses;
  else
    places::settle(page, {number_of(run), run.lane, run.shape, run.shift});
  return page;
}

Run* open_next(unsigned shape, Refusal& why) noexcept {
  why = Refusal::sealed;
  if (arena::sealed()) return nullptr;
  for (int attempt = 0; attempt < 16; ++attempt) {
    Run* next = find_slot(shape);
    if (next == nullptr) {
      uint32_t number;
      if (!add_frame(shape, number)) return why = Refusal::memory, nullptr;
      next = take_slot(number, shape);
      sources[shape].frame.store(number + 1, std::memory_order_relaxed);
    }
    if (next == nullptr) continue;
    if (open(*next, why)) return next;
    close_slot(*next);
    return nullptr;
  }
  why = Refusal::busy;
  return nullptr;
}

void close_slot(const Run& run) noexcept {
  const uint32_t self = number_of(run), number = self / kMostSlots, bit = slots_of(0, 1u << self % kMostSlots);
  uint32_t all = all_slots(run.shape);
  const Shape& shape = shape_of(run);
  if ((frames[number].slots.fetch_or(bit, std::memory_order_acq_rel) | bit) == all &&
      frames[number].slots.compare_exchange_strong(all, slots_of(kNoShape, 0), std::memory_order_acq_rel))
    release(number, shape);
}

void recount() noexcept {
  slabs::forked();
  unused.store(0, std::memory_order_relaxed);
  sums.frames.store(0, std::memory_order_relaxed);
  for (uint32_t number = 0; number < frame_count.load(std::memory_order_relaxed); ++number) {
    const Shape& shape = shape_of(run(number * kMostSlots));
    uint32_t open = 0;
    for (unsigned n = 0; n < shape.slots; ++n)
      if (state_of(run(number * kMostSlots + n).standing.load(std::memory_order_relaxed)) == unopened) open |= 1u << n;
    const uint32_t slots = slots_of(run(number * kMostSlots).shape, open);
    const bool any = slots != all_slots(run(number * kMostSlots).shape);
    frames[number].slots.store(any ? slots : slots_of(kNoShape, 0), std::memory_order_relaxed);
    if (!any) {
      push_unused(number);
      continue;
    }
    slabs::claim(frames[number].bin, shape.bin);
    sums.frames.fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace poireau::tracked_alloc::remap::runs
