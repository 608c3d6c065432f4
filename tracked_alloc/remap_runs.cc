#include "tracked_alloc/remap_runs.h"

#include <algorithm>

#include "preload/base/sys.h"
#include "preload/base/undisturbed.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_sources.h"

namespace poireau::tracked_alloc::remap::runs {
namespace {

constexpr size_t kPage = region::kPage;

void set_state(Run& run, State to) noexcept {
  uint64_t now = run.standing.load(std::memory_order_relaxed);
  while (!run.standing.compare_exchange_weak(now, standing(to, left_of(now)), std::memory_order_acq_rel)) {
  }
}

/// Deaths are summed up 16 at a time where blocks are small: what is left, rounded up, tells how many.
unsigned grain_of(const Run& run) noexcept { return run.shift >= 6 && shape_of(run).group == 1 ? 16 : 1; }
uint64_t rounded(const Run& run, uint64_t left) noexcept {
  const unsigned grain = grain_of(run);
  return (left + grain - 1) & ~uint64_t{grain - 1};
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

/// Pages of a word of its blocks.
size_t pages_of(const Run& run, unsigned word) noexcept {
  const size_t all = size_t{1} << run.shift, full = 64 * size_t{shape_of(run).group};
  return std::min(full, all - std::min(all, word * full));
}

/// Has pages mapped that nobody has been given yet, in fewer faults than one each.
void fill(Run& run, unsigned word) noexcept {
  const uint8_t bit = static_cast<uint8_t>(1u << word);
  const bool known = slabs::touch(slab_of(run), eighths_of(run, word));
  if ((run.filled.load(std::memory_order_relaxed) & bit) != 0) return;
  run.filled.fetch_or(bit, std::memory_order_relaxed);
  const Shape& shape = shape_of(run);
  const size_t first = run.first.load(std::memory_order_relaxed) + word * 64 * shape.group;
  const uintptr_t begin = places::address_of(first), end = begin + pages_of(run, word) * kPage;
  // The kernel maps what is in memory around a page that is read. What isn't is made all at once, where soon all of it
  // will be needed.
  constexpr size_t kAround = 16 * kPage;
  if (known && shape.slots > 1)
    for (uintptr_t at = begin; at < end; at += kAround) static_cast<void>(*reinterpret_cast<volatile char*>(at));
  else if (!known && shape.group == 1 && !arena::sealed())
    static_cast<void>(sys::advise(reinterpret_cast<void*>(begin), end - begin, sys::Advice::populate));
}

/// All of the run is dead, and has gone from its addresses.
void count_gone(Run& run) noexcept {
  const uint64_t capacity = shape_of(run).capacity, single = run.single.exchange(0, std::memory_order_relaxed);
  sums.handed.fetch_sub(run.blocks * capacity, std::memory_order_relaxed);
  sums.dead.fetch_sub(rounded(run, run.blocks) * capacity, std::memory_order_relaxed);
  sums.single.fetch_sub(single * capacity, std::memory_order_relaxed);
  sums.moved.fetch_add(run.blocks - single, std::memory_order_relaxed);
  sums.moved_bytes.fetch_add(run.blocks * capacity, std::memory_order_relaxed);
  sources[run.shape].churn.fetch_add(uint64_t{1} << run.shift, std::memory_order_relaxed);
}

/// Closed pages stay so at the old place until there is nothing, and may be closed at the new one.
bool carry(Run& run, void* from, void* to, size_t size) noexcept {
  if (engines::may_move(run)) return sys::move(from, size, to);
  if (!arena::show(run.offset, size / kPage, reinterpret_cast<uintptr_t>(to))) return false;
  run.filled.store(0, std::memory_order_relaxed);
  if (sys::unmap(from, size)) return true;
  sys::unmap(to, size);
  return false;
}

/// The run is `moving`, and ours alone.
bool move_on(Run& run) noexcept {
  const size_t pages = size_t{1} << run.shift, from = run.first.load(std::memory_order_relaxed);
  Refusal why{};
  if (run.shift < least_shift(run.shape) && retire(run)) {
    count_gone(run);
    return close_slot(run), true;
  }
  const size_t to = arena::sealed() ? 0 : place_for(run, why);
  const auto at = [](size_t page) { return reinterpret_cast<void*>(places::address_of(page)); };
  run.to.store(to, std::memory_order_relaxed);
  if (to == 0 || !carry(run, at(from), at(to), pages * kPage)) {
    run.to.store(0, std::memory_order_relaxed);
    if (to != 0) places::leave(to, run.shift);
    run.standing.store(standing(stuck, 0), std::memory_order_release);
    return false;
  }
  run.first.store(to, std::memory_order_relaxed);
  run.to.store(0, std::memory_order_relaxed);
  places::leave(from, run.shift);
  if (!engines::let_go(run)) {
    run.standing.store(standing(stuck, 0), std::memory_order_release);
    return false;
  }
  fill_free(run);
  count_gone(run);
  run.standing.store(standing(listed, run.blocks), std::memory_order_release);
  push(run);
  return true;
}

/// All of it is dead, and so it stood.
[[gnu::cold, gnu::noinline]] bool end_of(Run& run, uint64_t seen) noexcept {
  const Undisturbed undisturbed(!arena::sealed());
  return run.standing.compare_exchange_strong(seen, standing(moving, 0), std::memory_order_acq_rel) && move_on(run);
}

/// Of somebody who is no more. What has come to a new place is put where it was, and counted anew.
void drop(Run& run) noexcept {
  const uint64_t now = run.standing.load(std::memory_order_relaxed);
  const State state = state_of(now);
  const size_t first = run.first.load(std::memory_order_relaxed), to = run.to.exchange(0, std::memory_order_relaxed);
  if (to != 0 && (to != first || state == unopened)) {
    sys::unmap(reinterpret_cast<void*>(places::address_of(to)), kPage << run.shift);
    places::leave(to, run.shift);
  }
  if (first == 0 || state == unopened) return run.standing.store(standing(unopened, 0), std::memory_order_relaxed);
  const bool idle = state == moving && has_free(run);
  if (idle) fill_free(run);
  const uint32_t left = idle ? run.blocks : left_of(now);
  run.standing.store(standing(left == 0 ? stuck : out, left), std::memory_order_relaxed);
  uint32_t handed = run.blocks;
  for (const auto& word : run.free)
    handed -= static_cast<uint32_t>(std::popcount(word.load(std::memory_order_relaxed)));
  const uint64_t capacity = shape_of(run).capacity;
  sums.handed.fetch_add(handed * capacity, std::memory_order_relaxed);
  sums.dead.fetch_add((rounded(run, run.blocks) - rounded(run, left)) * capacity, std::memory_order_relaxed);
  sums.single.fetch_add(run.single.load(std::memory_order_relaxed) * capacity, std::memory_order_relaxed);
}

/// All of its blocks have been given out, to the holder too. True: no, some have been freed by a sweep meanwhile.
bool put_out(Run& run) noexcept {
  set_state(run, out);
  uint64_t now = run.standing.load(std::memory_order_acquire);
  while (state_of(now) == out && has_free(run))
    if (run.standing.compare_exchange_weak(now, standing(held, left_of(now)), std::memory_order_acq_rel)) return true;
  return false;
}

}  // namespace

constinit Sums sums{};
constinit std::atomic<bool> little_lives{true};
constinit Told tell_refused = nullptr;

void refuse(Refusal why) noexcept {
  if (sums.refused[static_cast<size_t>(why)].fetch_add(1, std::memory_order_relaxed) == 0 && tell_refused != nullptr)
    tell_refused(why);
}

unsigned eighths_of(const Run& run, unsigned word) noexcept {
  const size_t first = word * size_t{64} * shape_of(run).group, pages = pages_of(run, word);
  return ((1u << (pages + 63) / 64) - 1) << first / 64;
}

bool retire(Run& run) noexcept {
  const size_t pages = size_t{1} << run.shift, first = run.first.load(std::memory_order_relaxed);
  if (arena::sealed() || !sys::unmap(reinterpret_cast<void*>(places::address_of(first)), pages * kPage)) return false;
  arena::give_mapping_back(pages);
  sources[run.shape].pages.fetch_sub(pages, std::memory_order_relaxed);
  run.first.store(0, std::memory_order_relaxed);
  run.engine.store(strange, std::memory_order_relaxed);
  places::leave(first, run.shift);
  run.standing.store(standing(unopened, 0), std::memory_order_release);
  return true;
}

Run* acquire(unsigned shape, Refusal& why) noexcept {
  Run* const idle = pop(shape);
  if (idle == nullptr) return open_next(shape, why);
  idle->rested.store(false, std::memory_order_relaxed);
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
  const unsigned grain = grain_of(run);  // first: others may bury the rest, and the run be another's
  const uint64_t bytes = uint64_t{grain} * shape_of(run).capacity;
  const uint64_t now = run.standing.fetch_sub(1, std::memory_order_acq_rel) - 1, left = left_of(now);
  if (left % grain == 0) sums.dead.fetch_add(bytes, std::memory_order_relaxed);
  return left == 0 && end_of(run, now);
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

void drop_all() noexcept {
  trim_again();
  for (Source& source : sources) source.idle.store(0, std::memory_order_relaxed);
  for (auto* sum : {&sums.handed, &sums.dead, &sums.single}) sum->store(0, std::memory_order_relaxed);
  for (uint32_t n = 0; n < end_of_runs(); ++n) drop(run(n));
  recount();
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
