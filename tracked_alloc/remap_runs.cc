#include "tracked_alloc/remap_runs.h"

#include <algorithm>

#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_engine.h"

namespace poireau::tracked_alloc::remap::runs {
namespace {

constexpr size_t kPage = region::kPage;
constexpr uint32_t kNone = 0;

/// What blocks of a shape come from.
struct alignas(64) Source {
  std::atomic<uint64_t> idle;   // the number of the first listed run, plus one; and, above, how often it has changed
  std::atomic<uint32_t> frame;  // the one whose runs are being opened, plus one
  std::atomic<uint32_t> pages;  // of its frames
  std::atomic<uint64_t> churn;  // pages moved
};
[[gnu::section(".lbss")]] constinit Source sources[kShapeCount]{};

constinit std::atomic<uint32_t> run_end{0};
constinit std::atomic<bool> trimming{false};

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

/// All listed runs of the shape, out of everybody's reach: the first one's number plus one.
uint32_t pop_all(unsigned shape) noexcept {
  Source& source = sources[shape];
  uint64_t head = source.idle.load(std::memory_order_acquire);
  while (!source.idle.compare_exchange_weak(head, ((head >> 32) + 1) << 32, std::memory_order_acquire)) {
  }
  return static_cast<uint32_t>(head);
}

void set_state(Run& run, State to) noexcept {
  uint64_t now = run.standing.load(std::memory_order_relaxed);
  while (!run.standing.compare_exchange_weak(now, standing(to, left_of(now)), std::memory_order_acq_rel)) {
  }
}

/// Deaths are summed up 16 at a time where blocks are small: what is left, rounded up, tells how many.
uint64_t rounded(const Run& run, uint64_t left) noexcept {
  const unsigned grain = run.shift >= 6 && shape_of(run).group == 1 ? 16 : 1;
  return (left + grain - 1) & ~uint64_t{grain - 1};
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

/// Raises or lowers how many are not dead. Returns what it was.
uint64_t add_left(Run& run, uint32_t count) noexcept {
  const uint64_t before = run.standing.fetch_add(count, std::memory_order_acq_rel), left = left_of(before);
  sums.dead.fetch_sub((rounded(run, left + count) - rounded(run, left)) * shape_of(run).capacity,
                      std::memory_order_relaxed);
  return before;
}

bool has_free(const Run& run) noexcept {
  uint64_t any = 0;
  for (const auto& word : run.free) any |= word.load(std::memory_order_relaxed);
  return any != 0;
}

bool is_idle(const Run& run) noexcept {
  unsigned count = 0;
  for (const auto& word : run.free) count += static_cast<unsigned>(std::popcount(word.load(std::memory_order_relaxed)));
  return count == run.blocks;
}

/// Whether there is memory for long runs of shapes that have few blocks, and free them as fast as they are allocated:
/// one of 512 pages takes 2 MiB, and to move it costs a page an eighth of what it costs in short ones.
bool may_lengthen() noexcept {
  constexpr uint64_t kSpare = 16 << 20;
  const uint64_t physical = sums.physical.load(std::memory_order_relaxed);
  const uint64_t handed = sums.handed.load(std::memory_order_relaxed);
  const uint64_t live = handed - std::min(handed, sums.dead.load(std::memory_order_relaxed));
  return physical < live + live / 4 + kSpare;
}

/// How long the next runs of the shape are: as many pages as it has already, from the least that has a block.
unsigned next_shift(const Source& source, const Shape& shape) noexcept {
  constexpr uint64_t kFew = 2048, kFewPages = 16;
  const uint32_t pages = source.pages.load(std::memory_order_relaxed);
  const uint64_t churn = source.churn.load(std::memory_order_relaxed);
  uint64_t by_churn = churn / 4;
  if (churn < kFew || !may_lengthen()) by_churn = std::min(by_churn, kFewPages);
  const uint64_t wanted = std::max<uint64_t>({pages, by_churn, shape.group, 4});
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
  const unsigned shift = next_shift(source, shape);
  why = Refusal::memory;
  uint32_t number, first_run;
  if (!run_numbers.take(shape.slots, first_run) || !frame_numbers.take(1, number)) return false;
  Frame& frame = frames[number];
  frame.first_run = first_run;
  frame.shape = static_cast<uint8_t>(shape_number);
  frame.shift = static_cast<uint8_t>(shift);
  frame.offset = arena::take(size_t{1} << shift);
  if (frame.offset == SIZE_MAX) return false;
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
  // Who comes second has added one for the time after.
  source.frame.compare_exchange_strong(before, number + 1, std::memory_order_acq_rel);
  return true;
}

/// Fresh addresses for the run, and what lies there written down; 0: none.
size_t place_for(const Run& run, Refusal& why) noexcept {
  const size_t page = places::take(run.shift);
  if (page == 0)
    why = Refusal::addresses;
  else
    places::settle(page, {number_of(run), run.number, run.shape, run.shift});
  return page;
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

/// Has pages mapped that nobody has been given yet, in fewer faults than one each.
void fill(Run& run, unsigned word) noexcept {
  const uint8_t bit = static_cast<uint8_t>(1u << word);
  const Frame& frame = frames[run.frame];
  const bool known = (frame.touched.load(std::memory_order_relaxed) & bit) != 0;
  if (!known) touch(run, word);
  if ((run.filled.load(std::memory_order_relaxed) & bit) != 0) return;
  run.filled.fetch_or(bit, std::memory_order_relaxed);
  const Shape& shape = shape_of(run);
  const size_t first = run.first.load(std::memory_order_relaxed) + word * 64 * shape.group;
  const uintptr_t begin = places::address_of(first), end = begin + pages_of_word(frame, word) * kPage;
  // The kernel maps what is in memory around a page that is read. What isn't is made all at once, where soon all of it
  // will be needed.
  constexpr size_t kAround = 16 * kPage;
  if (known && shape.slots > 1)
    for (uintptr_t at = begin; at < end; at += kAround) static_cast<void>(*reinterpret_cast<volatile char*>(at));
  else if (!known && shape.group == 1 && run.shift >= 6 && !arena::sealed())
    static_cast<void>(sys::advise(reinterpret_cast<void*>(begin), end - begin, sys::Advice::populate));
}

/// All of the run is dead, and has gone from its addresses.
void count_gone(Run& run) noexcept {
  const uint64_t capacity = shape_of(run).capacity, single = run.single.exchange(0, std::memory_order_relaxed);
  sums.handed.fetch_sub(run.blocks * capacity, std::memory_order_relaxed);
  sums.dead.fetch_sub(rounded(run, run.blocks) * capacity, std::memory_order_relaxed);
  sums.single.fetch_sub(single * capacity, std::memory_order_relaxed);
  sums.moved.fetch_add(run.blocks - single, std::memory_order_relaxed);
  sources[run.shape].churn.fetch_add(uint64_t{1} << run.shift, std::memory_order_relaxed);
}

bool drop_memory(Frame& frame) noexcept {
  if (!arena::drop(frame.offset, size_t{1} << frame.shift)) return false;
  const unsigned words = frame.touched.exchange(0, std::memory_order_relaxed);
  for (unsigned word = 0; word < kWords; ++word)
    if ((words >> word & 1) != 0)
      sums.physical.fetch_sub(pages_of_word(frame, word) * kPage, std::memory_order_relaxed);
  return true;
}

constexpr uint32_t kShut = 1 << 16;  // of Frame::opened: no other run of it is to be opened

/// The shape's runs have become longer: this one goes, and with the last of them its frame. It is `moving`.
bool retire(Run& run) noexcept {
  Frame& frame = frames[run.frame];
  const size_t pages = size_t{1} << run.shift, first = run.first.load(std::memory_order_relaxed);
  if (arena::sealed() || !sys::unmap(reinterpret_cast<void*>(places::address_of(first)), pages * kPage)) return false;
  count_gone(run);
  arena::give_mapping_back(pages);
  run.first.store(0, std::memory_order_relaxed);
  run.engine.store(strange, std::memory_order_relaxed);
  places::leave(first, run.shift);
  run.standing.store(standing(unopened, 0), std::memory_order_release);
  uint32_t self = run.frame + 1;
  sources[run.shape].frame.compare_exchange_strong(self, 0, std::memory_order_acq_rel);
  uint32_t retired = frame.retired.fetch_add(1, std::memory_order_acq_rel) + 1;
  if (frame.opened.compare_exchange_strong(retired, retired | kShut, std::memory_order_acq_rel))
    static_cast<void>(drop_memory(frame));
  return true;
}

/// The run is `moving`, and ours alone.
bool move_on(Run& run) noexcept {
  const size_t pages = size_t{1} << run.shift, from = run.first.load(std::memory_order_relaxed);
  Refusal why{};
  if (run.shift < next_shift(sources[run.shape], shape_of(run)) && retire(run)) return true;
  const size_t to = arena::sealed() || !engines::let_go(run) ? 0 : place_for(run, why);
  const auto at = [](size_t page) { return reinterpret_cast<void*>(places::address_of(page)); };
  run.to.store(to, std::memory_order_relaxed);
  if (to == 0 || !sys::move(at(from), pages * kPage, at(to))) {
    run.to.store(0, std::memory_order_relaxed);
    if (to != 0) places::leave(to, run.shift);
    run.standing.store(standing(stuck, 0), std::memory_order_release);
    return false;
  }
  run.first.store(to, std::memory_order_relaxed);
  run.to.store(0, std::memory_order_relaxed);
  places::leave(from, run.shift);
  fill_free(run);
  count_gone(run);
  run.standing.store(standing(listed, run.blocks), std::memory_order_release);
  push(run);
  return true;
}

/// All of its blocks have been given out, to the holder too. True: no, some have been freed by a sweep meanwhile.
bool put_out(Run& run) noexcept {
  set_state(run, out);
  uint64_t now = run.standing.load(std::memory_order_acquire);
  while (state_of(now) == out && has_free(run))
    if (run.standing.compare_exchange_weak(now, standing(held, left_of(now)), std::memory_order_acq_rel)) return true;
  return false;
}

/// Gives the memory of an idle frame back, if nobody opens another run of it meanwhile.
bool strip(Frame& frame) noexcept {
  uint32_t opened = frame.seen;
  if (!frame.opened.compare_exchange_strong(opened, frame.seen | kShut, std::memory_order_acq_rel)) return false;
  const bool done = drop_memory(frame);
  for (uint32_t n = 0; done && n < frame.seen; ++n) run(frame.first_run + n).filled.store(0, std::memory_order_relaxed);
  frame.opened.store(frame.seen, std::memory_order_release);
  return done;
}

size_t trim_shape(unsigned shape, Trim which) noexcept {
  const uint32_t all = pop_all(shape);
  const auto each = [all](auto&& visit) {
    for (uint32_t number = all, next; number != kNone; number = next) {
      Run& listed_run = run(number - 1);
      next = listed_run.next.load(std::memory_order_relaxed);
      visit(listed_run, frames[listed_run.frame]);
    }
  };
  each([](Run&, Frame& frame) { frame.seen = 0; });
  each([](Run& its, Frame& frame) { frame.seen += is_idle(its); });
  size_t stripped = 0;
  each([&](Run&, Frame& frame) {
    if (frame.seen == 0 || frame.touched.load(std::memory_order_relaxed) == 0) return;
    const uint32_t resting = frame.seen + frame.retired.load(std::memory_order_acquire);
    const bool idle = resting == frame.opened.load(std::memory_order_acquire);
    const bool rested = frame.rested.exchange(idle, std::memory_order_relaxed);
    if (idle && (rested || which == Trim::idle)) stripped += strip(frame);
  });
  // Those with memory come to be used first.
  uint32_t with_memory = kNone;
  each([&](Run& its, Frame& frame) {
    if (frame.touched.load(std::memory_order_relaxed) == 0) return push(its);
    its.next.store(with_memory, std::memory_order_relaxed);
    with_memory = number_of(its) + 1;
  });
  for (uint32_t number = with_memory, next; number != kNone; number = next) {
    next = run(number - 1).next.load(std::memory_order_relaxed);
    push(run(number - 1));
  }
  return stripped;
}

}  // namespace

constinit std::atomic<uint32_t> frame_count{0};
constinit Sums sums{};
constinit Told tell_refused = nullptr;

void refuse(Refusal why) noexcept {
  if (sums.refused[static_cast<size_t>(why)].fetch_add(1, std::memory_order_relaxed) == 0 && tell_refused != nullptr)
    tell_refused(why);
}

void touch(const Run& run, unsigned word) noexcept {
  Frame& frame = frames[run.frame];
  const uint8_t bit = static_cast<uint8_t>(1u << word);
  if ((frame.touched.fetch_or(bit, std::memory_order_relaxed) & bit) == 0)
    sums.physical.fetch_add(pages_of_word(frame, word) * kPage, std::memory_order_relaxed);
}

Run* acquire(unsigned shape, Refusal& why) noexcept {
  Run* const idle = pop(shape);
  if (idle == nullptr) return open_next(shape, why);
  frames[idle->frame].rested.store(false, std::memory_order_relaxed);
  set_state(*idle, held);
  return idle;
}

uint64_t take_blocks(Run& run, unsigned& word, bool& more) noexcept {
  uint64_t bits = 0;
  for (word = 0; word < kWords && bits == 0; ++word)
    if (run.free[word].load(std::memory_order_relaxed) != 0)
      bits = run.free[word].exchange(0, std::memory_order_acquire);
  --word;
  if (bits != 0) {
    fill(run, word);
    sums.handed.fetch_add(static_cast<unsigned>(std::popcount(bits)) * uint64_t{shape_of(run).capacity},
                          std::memory_order_relaxed);
  }
  more = has_free(run) || put_out(run);
  return bits;
}

bool bury(Run& run) noexcept {
  const uint64_t now = run.standing.fetch_sub(1, std::memory_order_acq_rel) - 1, left = left_of(now);
  if (const uint64_t dead = rounded(run, left + 1) - rounded(run, left); dead != 0)
    sums.dead.fetch_add(dead * shape_of(run).capacity, std::memory_order_relaxed);
  if (left != 0) [[likely]]
    return false;
  uint64_t last = now;
  return run.standing.compare_exchange_strong(last, standing(moving, 0), std::memory_order_acq_rel) && move_on(run);
}

bool pin(Run& run) noexcept {
  uint64_t now = run.standing.load(std::memory_order_acquire);
  for (;;) {
    const State state = state_of(now);
    if (state == unopened || state == moving) return false;
    if (state != stuck) break;
    if (run.standing.compare_exchange_weak(now, standing(out, 0), std::memory_order_acq_rel)) break;
  }
  now = run.standing.load(std::memory_order_acquire);
  while (state_of(now) == out || state_of(now) == listed || state_of(now) == held) {
    if (!run.standing.compare_exchange_weak(now, now + 1, std::memory_order_acq_rel)) continue;
    const uint64_t left = left_of(now);
    sums.dead.fetch_sub((rounded(run, left + 1) - rounded(run, left)) * shape_of(run).capacity,
                        std::memory_order_relaxed);
    return true;
  }
  return false;
}

void revive(Run& run, uint32_t count) noexcept {
  const uint64_t bytes = count * uint64_t{shape_of(run).capacity};
  sums.handed.fetch_sub(bytes, std::memory_order_relaxed);
  sums.recycled.fetch_add(count, std::memory_order_relaxed);
  add_left(run, count);
  uint64_t now = run.standing.load(std::memory_order_acquire);
  while (state_of(now) == out)
    if (run.standing.compare_exchange_weak(now, standing(listed, left_of(now)), std::memory_order_acq_rel))
      return push(run);
}

void move_stuck() noexcept {
  for_each([](Run& its) {
    uint64_t at_rest = standing(stuck, 0);
    if (its.standing.compare_exchange_strong(at_rest, standing(moving, 0), std::memory_order_acq_rel))
      static_cast<void>(move_on(its));
  });
}

uint32_t end_of_runs() noexcept { return run_end.load(std::memory_order_acquire); }

size_t trim_frames(Trim which) noexcept {
  size_t stripped = 0;
  if (trimming.exchange(true, std::memory_order_acquire)) return 0;
  for (unsigned shape = 0; shape < kShapeCount; ++shape) stripped += trim_shape(shape, which);
  trimming.store(false, std::memory_order_release);
  return stripped;
}

void drop_all() noexcept {
  trimming.store(false, std::memory_order_relaxed);
  for (Source& source : sources) source.idle.store(0, std::memory_order_relaxed);
  for_each([](Run& its) {
    const uint64_t now = its.standing.load(std::memory_order_relaxed);
    const State state = state_of(now);
    if (state == moving) {
      // On its way; what has come to the new place is put where it was.
      const size_t to = its.to.exchange(0, std::memory_order_relaxed), pages = size_t{1} << its.shift;
      if (to != 0) sys::unmap(reinterpret_cast<void*>(places::address_of(to)), pages * kPage);
      if (to != 0) places::leave(to, its.shift);
    }
    const bool all_dead = left_of(now) == 0 && state != unopened;
    its.standing.store(standing(all_dead            ? stuck
                                : state == unopened ? unopened
                                                    : out,
                                left_of(now)),
                       std::memory_order_relaxed);
  });
}

void keep(Run& run) noexcept { set_state(run, held); }

void list_the_others() noexcept {
  for_each([](Run& its) {
    if (state_of(its.standing.load(std::memory_order_relaxed)) != out || !has_free(its)) return;
    set_state(its, listed);
    push(its);
  });
}

}  // namespace poireau::tracked_alloc::remap::runs
