#include <algorithm>
#include <cstring>

#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_block.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_stripes.h"

/// fork: shared memory stays shared with the child, who is to have his own.
namespace poireau::tracked_alloc::remap {
namespace {

using places::Entry;
using runs::Run;
using stripes::Stripe;

constexpr size_t kPage = region::kPage;

/// Stripes that whoever forks holds. In the others somebody stands still, who is not in the child.
constinit uint32_t ours = 0;
static_assert(stripes::kCount <= 32);

bool is_live(const Run& run, unsigned n) noexcept { return blocks::is_live(runs::entry_of(run, n)); }

/// The live blocks of the arena, and the noise behind them.
void copy(std::byte* to) noexcept {
  const bool swaps = arena::swaps();
  runs::for_each([&](Run& run) {
    if (run.first.load(std::memory_order_relaxed) == 0) return;
    const Shape& shape = runs::shape_of(run);
    for (unsigned n = 0; n < run.blocks; ++n) {
      if (!is_live(run, n)) continue;
      const size_t offset = runs::slot_offset(run, n), end = offset + shape.capacity;
      for (size_t at = offset; at < end;) {
        const size_t piece = std::min(end - at, kPage - at % kPage);
        // To read what isn't there would make it.
        if (shape.group == 1 || swaps || arena::has(at)) std::memcpy(to + at, arena::read(at), piece);
        at += piece;
      }
    }
  });
}

/// What is in memory now of each frame.
void count_touched() noexcept {
  const uint32_t end = runs::frame_count.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < end; ++i) runs::frames[i].touched.store(0, std::memory_order_relaxed);
  runs::sums.physical.store(0, std::memory_order_relaxed);
  runs::for_each([](Run& run) {
    if (run.first.load(std::memory_order_relaxed) == 0) return;
    for (unsigned n = 0; n < run.blocks; ++n)
      if (is_live(run, n)) runs::touch(run, n / 64);
  });
}

/// Closes again what was closed by itself.
void close_again(Run& run) noexcept {
  const uint32_t single = run.single.exchange(0, std::memory_order_relaxed);
  runs::sums.single.fetch_sub(single * uint64_t{runs::shape_of(run).capacity}, std::memory_order_relaxed);
  run.engine.store(runs::strange, std::memory_order_relaxed);
  for (unsigned n = 0; single != 0 && n < run.blocks; ++n) {
    Entry& entry = runs::entry_of(run, n);
    const uint64_t died = entry.died.load(std::memory_order_relaxed);
    if ((died & places::kClosed) == 0 || engines::close(run, n)) continue;
    entry.died.store(died & ~uint64_t{places::kClosed}, std::memory_order_relaxed);
  }
}

bool show_again(Run& run) noexcept {
  const size_t first = run.first.load(std::memory_order_relaxed), pages = size_t{1} << run.shift;
  if (first == 0) return true;
  run.filled.store(0, std::memory_order_relaxed);
  if (!arena::show(runs::frames[run.frame].offset, pages, places::address_of(first))) return false;
  close_again(run);
  return true;
}

}  // namespace

void before_fork() noexcept {
  ours = 0;
  for (unsigned i = 0; i < stripes::kCount; ++i)
    for (int patience = 1 << 14; patience > 0; --patience) {
      if (!stripes::all[i].held.exchange(true, std::memory_order_acquire)) {
        ours |= uint32_t{1} << i;
        break;
      }
      cpu::pause();
    }
}

void after_fork_in_parent() noexcept {
  for (unsigned i = 0; i < stripes::kCount; ++i)
    if ((ours >> i & 1) != 0) stripes::all[i].held.store(false, std::memory_order_release);
}

bool after_fork_in_child(uint64_t) noexcept {
  if (!begun()) return true;
  places::forked();
  for (unsigned i = 0; i < stripes::kCount; ++i)
    if ((ours >> i & 1) == 0)
      for (stripes::Current& current : stripes::all[i].current) current = {};
  runs::drop_all();
  for (const Stripe& stripe : stripes::all)
    for (const stripes::Current& current : stripe.current)
      if (current.run != nullptr && current.more) runs::keep(*current.run);
  runs::list_the_others();
  bool done = arena::renew(copy);
  if (done) {
    count_touched();
    runs::for_each([&](Run& run) { done = show_again(run) && done; });
  }
  if (!done) {
    arena::seal(true);  // what is there is the parent's
    return false;
  }
  for (Stripe& stripe : stripes::all) stripe.held.store(false, std::memory_order_release);
  runs::move_stuck();
  return true;
}

}  // namespace poireau::tracked_alloc::remap
