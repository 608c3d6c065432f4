#include "tracked_alloc/marks.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "tracked_alloc/pages.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_block.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/words.h"

namespace poireau::tracked_alloc::marks {
namespace {

using namespace remap;
using places::Entry;
using runs::Run;

constexpr uintptr_t kMap = region::kRemapTables + (size_t{208} << 30);
constexpr size_t kPage = region::kPage, kBytesOfUnit = places::kUnitPages / 8;
uint64_t* const map = reinterpret_cast<uint64_t*>(kMap);  // a bit for each page of addresses

constinit std::atomic<bool> busy{false};
constinit uint32_t sweeps = 0;
constinit size_t pages_seen = 0;  // how many there were at the beginning; 0: nobody is at it

constexpr size_t kMostKept = 4096;
[[gnu::section(".lbss")]] constinit std::array<std::atomic<uintptr_t>, kMostKept> kept_blocks{};
constinit std::atomic<size_t> kept_count{0};

bool is_marked(size_t page, size_t count) noexcept {
  for (; count > 0; ++page, --count)
    if (page >= pages_seen || (map[page / 64] >> page % 64 & 1) != 0) return true;
  return false;
}

void stop() noexcept {
  const size_t size = pages_seen / 8;
  pages_seen = 0;
  if (!pages::unmap(map, size)) pages::drop(map, size);
  busy.store(false, std::memory_order_release);
}

/// What is done with the dead of a run.
class Judge {
 public:
  Judge(const Limits& limits, Outcome& outcome) noexcept : limits_(limits), outcome_(outcome) {}

  void see(Run& run) noexcept {
    if (!runs::pin(run)) return;
    const Shape& shape = runs::shape_of(run);
    const size_t first = run.first.load(std::memory_order_relaxed);
    uint32_t freed = 0;
    for (unsigned word = 0; word * 64 < run.blocks; ++word) {
      uint64_t bits = 0;
      for (unsigned n = word * 64; n < std::min<unsigned>(run.blocks, word * 64 + 64); ++n) {
        Entry& entry = places::entries[first + n * shape.group];
        const uint64_t died = entry.died.load(std::memory_order_acquire);
        if (died == 0 || (died & (places::kClaimed | places::kFree | places::kShown)) != 0) continue;
        if (is_marked(first + n * shape.group, shape.group))
          keep(run, n, died);
        else if (outcome_.freed_bytes < limits_.bytes && set_free(run, n, entry, died))
          bits |= uint64_t{1} << n % 64;
      }
      if (bits == 0) continue;
      freed += static_cast<uint32_t>(std::popcount(bits));
      run.free[word].fetch_or(bits, std::memory_order_release);
    }
    close_kept(run);
    if (freed != 0) runs::revive(run, freed);
    static_cast<void>(runs::bury(run));
  }

 private:
  bool set_free(Run& run, unsigned n, Entry& entry, uint64_t died) noexcept {
    if ((died & places::kClosed) != 0 && !engines::open(run, n)) return false;
    entry.died.store((died & ~uint64_t{places::kClosed}) | places::kFree, std::memory_order_release);
    ++outcome_.freed;
    outcome_.freed_bytes += runs::shape_of(run).capacity;
    return true;
  }

  void keep(Run& run, unsigned n, uint64_t died) noexcept {
    ++outcome_.kept;
    outcome_.kept_bytes += runs::shape_of(run).capacity;
    const places::Spot spot =
        places::spot_of(places::address_of(run.first.load(std::memory_order_relaxed) + n * runs::shape_of(run).group));
    if (outcome_.kept <= kMostKept) {
      kept_blocks[outcome_.kept - 1].store(spot.block, std::memory_order_relaxed);
      kept_count.store(outcome_.kept, std::memory_order_release);
    }
    if (!limits_.close || (died & places::kClosed) != 0) return;
    if (n != closing_ + closing_count_) close_kept(run);
    if (closing_count_++ == 0) closing_ = n;
  }

  /// Neighbours at once.
  void close_kept(Run& run) noexcept {
    if (closing_count_ != 0 && engines::close(run, closing_, closing_count_))
      for (unsigned n = closing_; n < closing_ + closing_count_; ++n)
        runs::entry_of(run, n).died.fetch_or(places::kClosed, std::memory_order_release);
    closing_count_ = 0;
  }

  const Limits& limits_;
  Outcome& outcome_;
  unsigned closing_ = 0, closing_count_ = 0;  // kept blocks of the run that are to be closed
};

/// The bytes of a live block that are in memory at all: to read the others would make them.
template <typename Visit>
void for_each_piece(size_t offset, size_t size, bool sparse, Visit&& visit) noexcept {
  const std::byte* const block = arena::read(offset);
  if (!sparse) return visit(std::span(block, size));
  for (size_t done = 0; done < size;) {
    const size_t piece = std::min(size - done, kPage - (offset + done) % kPage);
    if (arena::has(offset + done)) visit(std::span(block + done, piece));
    done += piece;
  }
}

/// A live block's place in the arena. As many as share a word of their run are asked for before the first is looked at:
/// to wait for each in turn takes most of the time.
struct Lying {
  size_t offset, size;
};
[[gnu::section(".lbss")]] constinit Lying asked_for[64]{};

unsigned ask_for(const Run& run, unsigned word) noexcept {
  constexpr size_t kSoon = 256, kLine = 64;  // the processor sees to the rest
  const Shape& shape = runs::shape_of(run);
  unsigned count = 0;
  for (unsigned n = word * 64; n < std::min<unsigned>(run.blocks, word * 64 + 64); ++n) {
    const Entry& entry = runs::entry_of(run, n);
    if (!blocks::is_live(entry)) continue;
    const size_t size = blocks::size_of(entry.born.load(std::memory_order_relaxed), shape.capacity);
    const size_t offset = runs::slot_offset(run, n);
    if (size > shape.capacity) continue;  // the run has become another's meanwhile, and no block of it lived
    asked_for[count++] = {offset, size};
    for (size_t at = 0; at < std::min(size, kSoon); at += kLine) __builtin_prefetch(arena::read(offset + at));
  }
  return count;
}

uint64_t see_run(const Run& run, bool swaps) noexcept {
  const bool sparse = runs::shape_of(run).group > 1 && !swaps;
  uint64_t bytes = 0;
  for (unsigned word = 0; word * 64 < run.blocks; ++word)
    for (const auto [offset, size] : std::span(asked_for, ask_for(run, word))) {
      for_each_piece(offset, size, sparse, [](auto piece) { see_all(piece); });
      bytes += size;
    }
  return bytes;
}

}  // namespace

bool begin() noexcept {
  if (!begun() || busy.exchange(true, std::memory_order_acquire)) return false;
  const size_t units = places::known.load(std::memory_order_acquire), size = units * kBytesOfUnit;
  // Where it could not be unmapped it is there still, and must be empty.
  if (units != 0 && places::have_table(kMap, size) && map[0] == 0) {
    map[0] = 1;  // nobody lives there
    ++sweeps;
    pages_seen = units * places::kUnitPages;
    return true;
  }
  busy.store(false, std::memory_order_release);
  return false;
}

void see(uint64_t word) noexcept {
  const size_t page = (word - kBegin) / kPage;
  if (page < pages_seen) map[page / 64] |= uint64_t{1} << page % 64;
}

void see_all(std::span<const std::byte> bytes) noexcept {
  constexpr unsigned kBits = std::countr_zero(kSize);
  words::for_each<kBegin, kBits>(bytes, [](uint64_t word) { see(word); });
}

uint64_t see_live_blocks() noexcept {
  uint64_t bytes = 0;
  const bool swaps = arena::swaps();
  runs::for_each([&](const Run& run) {
    if (run.first.load(std::memory_order_acquire) != 0) bytes += see_run(run, swaps);
  });
  return bytes;
}

bool marked(uintptr_t address, size_t size) noexcept {
  const size_t first = places::page_of(address);
  return owns(address) && is_marked(first, places::page_of(address + std::max<size_t>(size, 1) - 1) - first + 1);
}

Outcome end(const Limits& limits) noexcept {
  Outcome outcome{};
  if (pages_seen == 0) return outcome;
  kept_count.store(0, std::memory_order_relaxed);
  Judge judge(limits, outcome);
  // Whole runs first: what is recycled there is many blocks in a row.
  const bool bounded = limits.bytes != UINT64_MAX;
  for (const unsigned part : {bounded ? 4u : 1u, 1u})
    runs::for_each([&](Run& run) {
      const uint64_t left = runs::left_of(run.standing.load(std::memory_order_relaxed));
      if (left >= run.blocks / part || run.judged == sweeps) return;
      run.judged = sweeps;
      judge.see(run);
    });
  if (places::exhausted()) outcome.addresses = places::recycle(marked);
  runs::move_stuck();
  stop();
  return outcome;
}

void abandon() noexcept {
  if (pages_seen != 0) stop();
}

size_t kept(std::span<Block> out) noexcept {
  size_t count = 0;
  const size_t end = std::min(kept_count.load(std::memory_order_acquire), kMostKept);
  for (size_t i = 0; i < end && count < out.size(); ++i) {
    const Answer answer = find(kept_blocks[i].load(std::memory_order_relaxed));
    if (answer.found == Answer::Found::dead) out[count++] = answer.block;
  }
  return count;
}

}  // namespace poireau::tracked_alloc::marks
