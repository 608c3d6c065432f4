#include "tracked_alloc/remap.h"

#include <algorithm>
#include <cstring>

#include "preload/base/cpu.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_block.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_stripes.h"
#include "tracked_alloc/remap_tidy.h"

namespace poireau::tracked_alloc::remap {
namespace {

using places::Entry;
using runs::Run;
using stripes::Current;
using stripes::Stripe;

[[gnu::cold, gnu::noinline]] void* refused(Refusal why) noexcept {
  runs::refuse(why);
  return nullptr;
}

/// Blocks for the stripe, which the caller holds.
[[gnu::cold, gnu::noinline]] bool refill(Current& current, unsigned shape, Refusal& why) noexcept {
  constexpr uint64_t kLittle = 2 << 20;
  runs::little_lives.store(runs::live_bytes() < kLittle, std::memory_order_relaxed);
  for (int attempt = 0; attempt < 8; ++attempt) {
    if (!current.more) current.run = runs::acquire(shape, why);
    if (current.run == nullptr) return false;
    Run& run = *current.run;
    unsigned word;
    current.bits = runs::take_blocks(run, word, current.more);
    if (current.bits == 0) continue;
    const size_t page = run.first.load(std::memory_order_relaxed) + word * 64 * kShapes[shape].group;
    current.base = places::address_of(page);
    current.entry = places::entries + page;
    current.number = word * 64;
    return true;
  }
  why = Refusal::busy;
  return false;
}

/// There is one.
uintptr_t next_block(const Current& current, const Shape& shape) noexcept {
  const unsigned bit = static_cast<unsigned>(std::countr_zero(current.bits));
  return current.base + bit * size_t{shape.group} * region::kPage +
         offset_in(shape, current.run->lane, current.number + bit);
}

/// The claim on a live block: the others see it dead, with this note. False: it was not live.
bool claim(Entry& entry, uint64_t died) noexcept {
  for (int patience = 1 << 12; patience > 0; --patience) {
    uint64_t now = 0;
    if (entry.died.compare_exchange_strong(now, died | places::kClaimed, std::memory_order_acq_rel)) [[likely]]
      return true;
    if (now != places::kClaimed) return false;
    cpu::pause();  // somebody changes its size
  }
  return false;
}

}  // namespace

void* allocate(const Wanted& wanted, unsigned number) noexcept {
  unsigned shape_number = shape_for(wanted.size, wanted.alignment);
  if (shape_number == kNoShape) [[unlikely]]
    return refused(Refusal::size);
  if (wanted.alignment <= 16 && runs::little_lives.load(std::memory_order_relaxed))
    shape_number = kRounded[shape_number];
  const Shape& shape = kShapes[shape_number];
  Stripe* const stripe = begun() ? stripes::hold(number) : nullptr;
  if (stripe == nullptr) [[unlikely]]
    return refused(Refusal::busy);
  Current& current = stripe->current[shape_number];
  if (current.bits == 0) [[unlikely]]
    if (Refusal why{}; !refill(current, shape_number, why)) {
      stripe->held.store(false, std::memory_order_release);
      return refused(why);
    }
  const uintptr_t block = next_block(current, shape);
  Entry& entry = current.entry[static_cast<unsigned>(std::countr_zero(current.bits)) * size_t{shape.group}];
  current.bits &= current.bits - 1;
  stripe->placed.store(stripe->placed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  stripe->asked.store(stripe->asked.load(std::memory_order_relaxed) + wanted.size, std::memory_order_relaxed);
  if (current.bits != 0)  // the processor has not seen its page for long
    __builtin_prefetch(reinterpret_cast<void*>(next_block(current, shape)), 1);
  stripe->held.store(false, std::memory_order_release);

  void* const ptr = reinterpret_cast<void*>(block);
  noise::fill(block + wanted.size, blocks::end_of_noise(block, wanted.size, shape.capacity));
  if (wanted.zeroed) std::memset(ptr, 0, wanted.size);
  entry.born.store(wanted.born << places::kNoteShift | (shape.capacity - wanted.size), std::memory_order_relaxed);
  entry.died.store(0, std::memory_order_release);
  return ptr;
}

Death release(void* ptr, Note note, const Closing& closing) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  const places::Spot spot = owns(address) ? places::spot_of(address) : places::Spot{};
  Entry& entry = places::entries[spot.group];
  const uint64_t died = note << places::kNoteShift | places::kDead;
  if (!spot.place.there() || spot.block != address || spot.place.gone() || !blocks::is_born(entry) ||
      !claim(entry, died)) [[unlikely]]
    return blocks::describe_failure(spot, address);
  const Shape& shape = kShapes[spot.place.shape()];
  Run& run = runs::run(spot.place.run());
  const uint64_t born = entry.born.load(std::memory_order_relaxed);
  const size_t size = blocks::size_of(born, shape.capacity);
  const size_t place = runs::slot_offset(run, spot.number);
  const noise::Damage damage = noise::look(address + size, blocks::end_of_noise(address, size, shape.capacity));
  if (closing.zero) std::memset(ptr, 0, size);
  const bool closed = closing.now && engines::close(run, spot.number);
  entry.died.store(died | (closed ? uint64_t{places::kClosed} : 0), std::memory_order_release);
  const bool moved = runs::bury(run);
  if (moved) [[unlikely]]
    tidy::after_move();
  return {.found = Death::Found::done,
          .block = {.address = address,
                    .size = size,
                    .room = size,
                    .born = born >> places::kNoteShift,
                    .died = note,
                    .live = false,
                    .open = !closed && !moved,
                    .place = place},
          .damage = damage,
          .closed = closed || moved};
}

bool resize(void* ptr, size_t size, Note born) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  const places::Spot spot = owns(address) ? places::spot_of(address) : places::Spot{};
  if (!spot.place.there() || spot.block != address || spot.place.gone()) return false;
  Entry& entry = places::entries[spot.group];
  const size_t capacity = kShapes[spot.place.shape()].capacity;
  const bool wasteful = size < capacity / 2 && capacity > kShapes[0].capacity;
  if (size >= capacity || wasteful || !blocks::is_born(entry)) return false;
  uint64_t now = 0;
  if (!entry.died.compare_exchange_strong(now, places::kClaimed, std::memory_order_acq_rel)) return false;
  noise::fill(address + size, blocks::end_of_noise(address, size, capacity));
  entry.born.store(born << places::kNoteShift | (capacity - size), std::memory_order_relaxed);
  entry.died.store(0, std::memory_order_release);
  return true;
}

}  // namespace poireau::tracked_alloc::remap
