#include "tracked_alloc/remap_slabs.h"

#include <bit>

#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_numbers.h"

namespace poireau::tracked_alloc::remap::slabs {
namespace {

constexpr size_t kPage = region::kPage;
constexpr uint64_t kAll = ~uint64_t{0};

/// Of each length the last that was made, plus one; and where bins have been found, or given back, lately.
constinit std::atomic<uint32_t> newest[kMostShift + 1]{}, lately[kMostShift + 1]{};
constinit Numbers numbers{kTable, sizeof(Slab), size_t{1} << 24};

uint64_t bits_of(const Bin& bin, unsigned bytes) noexcept {
  const unsigned length = bytes / kGrainOfBins;
  return (length == 64 ? kAll : (uint64_t{1} << length) - 1) << bin.at / kGrainOfBins;
}

/// The first free place of so many bits in a row, at a multiple of that; 64: there is none.
unsigned find_free(uint64_t taken, unsigned length) noexcept {
  uint64_t free = ~taken;
  for (unsigned w = 1; w < length; w *= 2) free &= free >> w;
  const uint64_t multiples = length == 64 ? 1 : kAll / ((uint64_t{1} << length) - 1);
  return static_cast<unsigned>(std::countr_zero(free & multiples));
}

bool take_of(Slab& slab, unsigned bytes, Bin& out) noexcept {
  uint64_t taken = slab.taken.load(std::memory_order_relaxed);
  while (taken != 0) {
    const unsigned at = find_free(taken, bytes / kGrainOfBins);
    if (at == 64) return false;
    out = {static_cast<uint32_t>(&slab - table), at * kGrainOfBins};
    if (slab.taken.compare_exchange_weak(taken, taken | bits_of(out, bytes), std::memory_order_acq_rel)) return true;
  }
  return false;
}

/// Looks at some slabs of that length, until visit(Slab&) returns true.
template <typename Visit>
bool look(unsigned shift, Visit&& visit) noexcept {
  constexpr int kMany = 64;
  uint32_t number = lately[shift].load(std::memory_order_relaxed);
  const uint32_t begin = number;
  for (int i = 0; i < kMany && number != 0; ++i) {
    Slab& slab = table[number - 1];
    if (visit(slab)) return lately[shift].store(number, std::memory_order_relaxed), true;
    number = slab.next != 0 ? slab.next : newest[shift].load(std::memory_order_acquire);
    if (number == begin) break;
  }
  lately[shift].store(number, std::memory_order_relaxed);
  return false;
}

/// One that nobody uses is ours.
bool begin_to_use(Slab& slab, unsigned bytes, Bin& out) noexcept {
  uint64_t none = 0;
  out = {static_cast<uint32_t>(&slab - table), 0};
  if (!slab.taken.compare_exchange_strong(none, bits_of(out, bytes), std::memory_order_acq_rel)) return false;
  promised.fetch_add(kPage << slab.shift, std::memory_order_relaxed);
  return true;
}

bool drop(Slab& slab) noexcept {
  uint64_t none = 0;
  if (slab.touched.load(std::memory_order_relaxed) == 0 ||
      !slab.taken.compare_exchange_strong(none, kAll, std::memory_order_acq_rel))
    return false;
  const bool dropped = arena::drop(slab.offset, size_t{1} << slab.shift);
  if (dropped) {
    const auto eighths = static_cast<unsigned>(std::popcount(slab.touched.exchange(0, std::memory_order_relaxed)));
    physical.fetch_sub(eighths * pages_of_eighth(slab) * kPage, std::memory_order_relaxed);
  }
  slab.taken.store(0, std::memory_order_release);
  return dropped;
}

}  // namespace

constinit std::atomic<uint32_t> count{0};
constinit std::atomic<uint64_t> promised{0}, physical{0};

bool take(unsigned shift, unsigned bytes, Bin& out) noexcept {
  return look(shift, [&](Slab& slab) { return take_of(slab, bytes, out); });
}

bool has_room(unsigned shift, unsigned bytes) noexcept {
  return look(shift, [&](const Slab& slab) {
    const uint64_t taken = slab.taken.load(std::memory_order_relaxed);
    return taken != 0 && find_free(taken, bytes / kGrainOfBins) != 64;
  });
}

bool take_new(unsigned shift, unsigned bytes, Bin& out) noexcept {
  if (look(shift, [&](Slab& slab) { return begin_to_use(slab, bytes, out); })) return true;
  if (!numbers.has_next()) return false;
  const size_t offset = arena::take(shift);
  uint32_t number;
  if (offset == SIZE_MAX || !numbers.take(number)) return false;
  Slab& slab = table[number];
  slab.offset = offset;
  slab.shift = static_cast<uint8_t>(shift);
  static_cast<void>(begin_to_use(slab, bytes, out));
  uint32_t head = newest[shift].load(std::memory_order_relaxed);
  do {
    slab.next = head;
  } while (!newest[shift].compare_exchange_weak(head, number + 1, std::memory_order_release));
  lately[shift].store(number + 1, std::memory_order_relaxed);
  uint32_t end = count.load(std::memory_order_relaxed);
  while (end <= number && !count.compare_exchange_weak(end, number + 1, std::memory_order_release)) {
  }
  return true;
}

void give_back(const Bin& bin, unsigned bytes) noexcept {
  Slab& slab = table[bin.slab];
  const uint64_t bits = bits_of(bin, bytes);
  lately[slab.shift].store(bin.slab + 1, std::memory_order_relaxed);
  if (slab.taken.fetch_and(~bits, std::memory_order_acq_rel) != bits) return;
  promised.fetch_sub(kPage << slab.shift, std::memory_order_relaxed);
  static_cast<void>(drop(slab));
}

void drop_unused() noexcept {
  const uint32_t end = count.load(std::memory_order_acquire);
  for (uint32_t i = 0; i < end; ++i) static_cast<void>(drop(table[i]));
}

bool touch(Slab& slab, unsigned eighths) noexcept {
  if ((slab.touched.load(std::memory_order_relaxed) & eighths) == eighths) return true;
  const unsigned fresh = eighths & ~slab.touched.fetch_or(static_cast<uint8_t>(eighths), std::memory_order_relaxed);
  physical.fetch_add(static_cast<unsigned>(std::popcount(fresh)) * pages_of_eighth(slab) * kPage,
                     std::memory_order_relaxed);
  return fresh == 0;
}

void forked() noexcept {
  const uint32_t end = count.load(std::memory_order_relaxed);
  for (uint32_t i = 0; i < end; ++i) table[i].taken.store(0, std::memory_order_relaxed);
  promised.store(0, std::memory_order_relaxed);
}

void claim(const Bin& bin, unsigned bytes) noexcept {
  Slab& slab = table[bin.slab];
  if (slab.taken.fetch_or(bits_of(bin, bytes), std::memory_order_relaxed) == 0)
    promised.fetch_add(kPage << slab.shift, std::memory_order_relaxed);
}

}  // namespace poireau::tracked_alloc::remap::slabs
