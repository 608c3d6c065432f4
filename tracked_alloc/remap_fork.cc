#include <algorithm>
#include <cstring>

#include "preload/base/sys.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_block.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_stripes.h"
#include "tracked_alloc/remap_tidy.h"

namespace poireau::tracked_alloc::remap {
namespace {

constexpr size_t kPage = region::kPage;

/// Finds the pages that hold blocks in use.
void find_live() noexcept {
  for (uint32_t i = 0; i < slabs::count.load(std::memory_order_acquire); ++i)
    std::ranges::fill(slabs::table[i].live, uint64_t{0});
  runs::for_each([](const runs::Run& run) {
    slabs::Slab& slab = runs::slab_of(run);
    const unsigned group = runs::shape_of(run).group;
    if (run.first.load(std::memory_order_relaxed) == 0) return;
    for (unsigned n = 0; n < run.blocks; ++n)
      if (blocks::is_in_use(runs::entry_of(run, n)))
        for (unsigned page = n * group; page < (n + 1) * group; ++page)
          slab.live[page / 64] |= uint64_t{1} << page % 64;
  });
}

bool is_live(const slabs::Slab& slab, size_t page) noexcept { return (slab.live[page / 64] >> page % 64 & 1) != 0; }

/// Calls visit(offset, bytes) for the parts of the arena that hold live blocks; false: it did not want to go on.
template <typename Visit>
bool for_each_live_part(Visit&& visit) noexcept {
  const bool swaps = arena::swaps();
  size_t begin = 0, end = 0;
  const auto add = [&](size_t at) {
    if (at != end && begin != end && !visit(begin, end - begin)) return false;
    if (at != end) begin = at;
    end = at + kPage;
    return true;
  };
  find_live();
  for (uint32_t i = 0; i < slabs::count.load(std::memory_order_acquire); ++i) {
    const slabs::Slab& slab = slabs::table[i];
    const bool all = swaps || !slab.sparse.load(std::memory_order_relaxed);  // to read what isn't there would make it
    for (size_t page = 0; page < size_t{1} << slab.shift; ++page) {
      const size_t at = slab.offset + page * kPage;
      if (is_live(slab, page) && (all || arena::has(at)) && !add(at)) return false;
    }
  }
  return begin == end || visit(begin, end - begin);
}

bool copy_all() noexcept {
  if (!arena::make_copy()) return false;
  const bool done = for_each_live_part([](size_t offset, size_t bytes) { return arena::fill_copy(offset, bytes); });
  arena::end_copy();
  if (!done) arena::drop_copy();
  return done;
}

/// Pages that the child has written to before it came here: each side gets its own.
class Exchange {
 public:
  /// False: there are too many.
  bool page(size_t offset) noexcept {
    auto* const ours = arena::copy_at(offset);
    auto* const theirs = const_cast<std::byte*>(arena::read(offset));
    if (std::memcmp(ours, theirs, kPage) == 0) return true;
    if (std::find(done_, done_ + count_, offset) != done_ + count_) return true;
    if (count_ == std::size(done_)) return false;
    done_[count_++] = offset;
    for (size_t at = 0; at < kPage; at += sizeof(uint64_t)) {
      uint64_t mine, other;
      std::memcpy(&mine, ours + at, sizeof mine);
      std::memcpy(&other, theirs + at, sizeof other);
      if (mine == other) continue;  // the kernel may be writing there for the parent
      std::memcpy(ours + at, &other, sizeof other);
      std::memcpy(theirs + at, &mine, sizeof mine);
    }
    return true;
  }

 private:
  size_t done_[60];
  size_t count_ = 0;
};

/// The arena's page that this one of a run shows, if it has live blocks; SIZE_MAX: it has none.
size_t offset_of(uintptr_t page) noexcept {
  const places::Found found = places::at(places::page_of(page));
  if (!found.place.there() || found.place.gone()) return SIZE_MAX;
  const runs::Run& run = runs::run(found.place.run());
  const size_t in_run = places::page_of(page) - found.first;
  return is_live(runs::slab_of(run), in_run) ? run.offset + in_run * kPage : SIZE_MAX;
}

/// Looks at the pages that are in the child's page tables: those that it has touched, and some that it inherited.
/// False: the kernel doesn't tell them.
bool exchange_touched(int pagemap, Exchange& exchange) noexcept {
  const uintptr_t end = kBegin + places::known.load(std::memory_order_acquire) * places::kUnit;
  sys::PageQuery query{kBegin, end, 0, 0, sys::kPagePresent, sys::kPagePresent};
  while (query.begin < end) {
    sys::PageRange found[16];
    const int64_t count = sys::find_pages(pagemap, query, found);
    if (count < 0) return false;
    for (const sys::PageRange& range : std::span(found, static_cast<size_t>(count)))
      for (uintptr_t page = range.begin; page < range.end; page += kPage)
        if (const size_t offset = offset_of(page); offset != SIZE_MAX && !exchange.page(offset)) return false;
  }
  return true;
}

void exchange_all() noexcept {
  Exchange exchange;
  find_live();
  const int pagemap = sys::open_to_read("/proc/self/pagemap");
  const bool done = pagemap >= 0 && exchange_touched(pagemap, exchange);
  if (pagemap >= 0) sys::close(pagemap);
  if (done) return;
  static_cast<void>(for_each_live_part([&](size_t offset, size_t bytes) {
    for (size_t at = 0; at < bytes; at += kPage)
      if (!exchange.page(offset + at)) return false;
    return true;
  }));
}

/// Nobody else is there, and what is in memory now is of live blocks.
void settle_blocks() noexcept {
  for (uint32_t i = 0; i < slabs::count.load(std::memory_order_relaxed); ++i)
    slabs::table[i].touched.store(0, std::memory_order_relaxed);
  slabs::physical.store(0, std::memory_order_relaxed);
  runs::for_each([](runs::Run& run) {
    if (run.first.load(std::memory_order_relaxed) == 0) return;
    for (unsigned n = 0; n < run.blocks; ++n) {
      places::Entry& entry = runs::entry_of(run, n);
      // By a thread that is no more, which was to change its size.
      if (entry.died.load(std::memory_order_relaxed) == places::kClaimed)
        entry.died.store(0, std::memory_order_relaxed);
      if (blocks::is_in_use(entry)) slabs::touch(runs::slab_of(run), runs::eighths_of(run, n / 64));
    }
  });
  // And what is to be given out without further notice.
  for (const stripes::Stripe& stripe : stripes::all)
    for (const stripes::Current& current : stripe.current)
      if (current.bits != 0)
        slabs::touch(runs::slab_of(*current.run), runs::eighths_of(*current.run, current.number / 64));
}

/// The copy may have been made of blocks that the parent had given another size by then: that is nobody's error.
void renew_noise() noexcept {
  runs::for_each([](runs::Run& run) {
    const size_t first = run.first.load(std::memory_order_relaxed);
    for (unsigned n = 0; first != 0 && n < run.blocks; ++n) {
      const places::Spot spot = places::spot_of(places::address_of(first + n * runs::shape_of(run).group));
      if (!spot.place.there() || spot.place.gone() || !blocks::is_live(places::entries[spot.group])) continue;
      const size_t capacity = runs::shape_of(run).capacity, size = blocks::describe(spot).size;
      noise::fill(spot.block + size, blocks::end_of_noise(spot.block, size, capacity));
    }
  });
}

/// The block that the stack of who forks lies in, and that is not shared meanwhile.
struct OwnStack {
  uintptr_t at;
  size_t size, offset;  // offset: of its pages, in the arena
};
constinit OwnStack own_stack{};

/// It is shared again, with what is there now.
bool put_stack_back() noexcept {
  void* const pages = const_cast<std::byte*>(arena::read(own_stack.offset));
  return sys::replace(reinterpret_cast<void*>(own_stack.at), own_stack.size, pages, sys::Replacing::show);
}

/// Pages [begin, end) of the run.
bool show(const runs::Run& run, uintptr_t at, uintptr_t begin, uintptr_t end) noexcept {
  return begin == end || arena::show(run.offset + (begin - at), (end - begin) / kPage, begin);
}

/// Shows the copy wherever the parent's arena was shown.
bool show_all() noexcept {
  bool done = true;
  runs::for_each([&](runs::Run& run) {
    const size_t first = run.first.load(std::memory_order_relaxed);
    if (first == 0) return;
    const uintptr_t at = places::address_of(first), end = at + (kPage << run.shift);
    if (own_stack.at >= at && own_stack.at < end) {
      done &= show(run, at, at, own_stack.at) && put_stack_back() && show(run, at, own_stack.at + own_stack.size, end);
      engines::forked(run);
    } else if (!show(run, at, at, end)) {
      sys::unmap(reinterpret_cast<void*>(at), kPage << run.shift);  // rather than the parent's
      done = false;
    } else {
      engines::forked(run);
    }
  });
  return done;
}

}  // namespace

void take_stack_apart() noexcept {
  own_stack = {};
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const places::Spot spot = owns(here) ? places::spot_of(here) : places::Spot{};
  if (!spot.place.there() || spot.place.gone()) return;
  const uintptr_t at = places::address_of(spot.group);
  const size_t group = kShapes[spot.place.shape()].group, size = group * kPage;
  void* const pages = sys::map(size);
  if (pages == nullptr) return;
  if (sys::replace(reinterpret_cast<void*>(at), size, pages, sys::Replacing::move))
    own_stack = {at, size, runs::run(spot.place.run()).offset + spot.number * size};
  else
    sys::unmap(pages, size);
}

bool before_fork() noexcept { return !begun() || copy_all(); }

void after_fork_in_parent() noexcept {
  arena::drop_copy();
  if (own_stack.size == 0 || !put_stack_back()) return;
  engines::enter_again(runs::run(places::spot_of(own_stack.at).place.run()), own_stack.at, own_stack.size);
  own_stack = {};
}

bool after_fork_in_child(bool whole, void (*apart)() noexcept) noexcept {
  if (whole)
    exchange_all();
  else
    arena::drop_copy();
  const bool copied = whole || copy_all();
  apart();
  places::forked();
  stripes::forked();
  const bool done = copied && arena::adopt_copy() && show_all();
  own_stack = {};
  if (!done) {
    tidy::place_nothing();
    arena::seal(true);  // memory that we gave back would be the parent's
    return false;
  }
  settle_blocks();
  if (!whole) renew_noise();
  runs::move_stuck();
  return true;
}

}  // namespace poireau::tracked_alloc::remap
