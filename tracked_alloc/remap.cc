#include "tracked_alloc/remap.h"

#include <algorithm>
#include <cstring>

#include "preload/base/cpu.h"
#include "preload/base/undisturbed.h"
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

/// There is one.
[[gnu::always_inline]] inline uintptr_t next_block(const Current& current, const Shape& shape) noexcept {
  const unsigned bit = static_cast<unsigned>(std::countr_zero(current.bits));
  return current.base + bit * size_t{shape.group} * region::kPage +
         offset_in(shape, current.run->lane, current.number + bit);
}

/// A run to take blocks from, which the stripe keeps.
bool take_run(Current& current, unsigned shape, Refusal& why) noexcept {
  const Undisturbed undisturbed(!arena::sealed());
  current.run = runs::acquire(shape, why);
  return current.more = current.run != nullptr;
}

/// Blocks for the stripe, which the caller holds.
[[gnu::cold, gnu::noinline]] bool refill(Current& current, unsigned shape, Refusal& why) noexcept {
  constexpr uint64_t kLittle = 2 << 20;
  runs::little_lives.store(runs::live_bytes() < kLittle, std::memory_order_relaxed);
  for (int attempt = 0; attempt < 8; ++attempt) {
    if (!current.more && !take_run(current, shape, why)) return false;
    Run& run = *current.run;
    unsigned word;
    current.bits = runs::take_blocks(run, word, current.more);
    if (current.bits == 0) continue;
    const size_t page = run.first.load(std::memory_order_relaxed) + word * 64 * kShapes[shape].group;
    current.base = places::address_of(page);
    current.entry = places::entries + page;
    current.number = word * 64;
    current.next = next_block(current, kShapes[shape]);
    return true;
  }
  why = Refusal::busy;
  return false;
}

/// A block that was live until now.
struct Claimed {
  places::Spot spot;
  Entry* entry;
  uint64_t born, died;
  size_t capacity, size;
  [[nodiscard]] uintptr_t end_of_noise() const noexcept { return blocks::end_of_noise(spot.block, size, capacity); }
};

/// The others see it dead from here on, with this note. False: there is no live block.
[[gnu::always_inline]] inline bool claim(uintptr_t address, Note note, Claimed& out) noexcept {
  const size_t page = places::page_of(address);
  const places::Found found = places::at(page);
  if (!found.place.there() || found.place.gone()) return false;
  out.spot = places::spot_in(found, page);
  out.entry = places::entries + out.spot.group;
  if (out.spot.block != address || !blocks::is_born(*out.entry)) return false;
  out.died = note << places::kNoteShift | places::kDead;
  for (int patience = 1 << 12; patience > 0; --patience) {
    uint64_t now = 0;
    if (out.entry->died.compare_exchange_strong(now, out.died | places::kClaimed, std::memory_order_acq_rel))
        [[likely]] {
      out.born = out.entry->born.load(std::memory_order_relaxed);
      out.capacity = kShapes[found.place.shape()].capacity;
      out.size = blocks::size_of(out.born, out.capacity);
      return true;
    }
    if (now != places::kClaimed) return false;
    cpu::pause();  // somebody changes its size
  }
  return false;
}

}  // namespace

void* allocate(size_t size, size_t alignment, Note born, bool zeroed, unsigned number) noexcept {
  unsigned shape_number = shape_for(size, alignment);
  if (shape_number == kNoShape) [[unlikely]]
    return refused(Refusal::size);
  if (alignment <= 16 && runs::little_lives.load(std::memory_order_relaxed)) shape_number = kRounded[shape_number];
  const Shape& shape = kShapes[shape_number];
  Stripe* const stripe = begun() ? stripes::hold(number) : nullptr;
  if (stripe == nullptr) [[unlikely]]
    return refused(Refusal::busy);
  Current& current = stripe->current[shape_number];
  if (current.bits == 0) [[unlikely]]
    if (Refusal why{}; !refill(current, shape_number, why)) {
      stripe->let_go();
      return refused(why);
    }
  const uintptr_t block = current.next;
  Entry& entry = current.entry[static_cast<unsigned>(std::countr_zero(current.bits)) * size_t{shape.group}];
  current.bits &= current.bits - 1;
  blocks::set_coming(entry);
  stripe->placed.store(stripe->placed.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  stripe->asked.store(stripe->asked.load(std::memory_order_relaxed) + size, std::memory_order_relaxed);
  if (current.bits != 0) {
    current.next = next_block(current, shape);
    __builtin_prefetch(reinterpret_cast<void*>(current.next), 1);  // the processor has not seen its page for long
  }
  stripe->let_go();

  void* const ptr = reinterpret_cast<void*>(block);
  noise::fill_behind(block + size, blocks::end_of_noise(block, size, shape.capacity));
  if (zeroed) std::memset(ptr, 0, size);
  entry.born.store(born << places::kNoteShift | (shape.capacity - size), std::memory_order_relaxed);
  entry.died.store(0, std::memory_order_release);
  return ptr;
}

Death release(void* ptr, Note note, const Closing& closing) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  Claimed block;
  if (!owns(address) || !claim(address, note, block)) [[unlikely]]
    return blocks::describe_failure(owns(address) ? places::spot_of(address) : places::Spot{}, address);
  const size_t size = block.size;
  Run& run = runs::run(block.spot.place.run());
  Death death{.found = Death::Found::done,
              .block = {.address = address,
                        .size = size,
                        .room = size,
                        .born = block.born >> places::kNoteShift,
                        .died = note,
                        .live = false,
                        .open = false,
                        .place = runs::slot_offset(run, block.spot.number)},
              .damage = noise::look(address + size, block.end_of_noise())};
  if (death.damage.first != 0)
    std::memcpy(death.found_bytes, reinterpret_cast<const void*>(death.damage.first),
                std::min(death.damage.bytes, sizeof death.found_bytes));
  if (closing.zero) std::memset(ptr, 0, size);
  const bool closed = closing.now && engines::close(run, block.spot.number);
  block.entry->died.store(block.died | (closed ? uint64_t{places::kClosed} : 0), std::memory_order_release);
  const bool moved = runs::bury(run);
  if (moved) [[unlikely]]
    tidy::after_move();
  death.closed = closed || moved;
  death.block.open = !death.closed;
  return death;
}

Freed release_quietly(void* ptr, Note note) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  Claimed block;
  if (!claim(address, note, block)) [[unlikely]]
    return {};
  if (!noise::is_whole(address + block.size, block.end_of_noise())) [[unlikely]] {
    block.entry->died.store(0, std::memory_order_release);
    return {};
  }
  block.entry->died.store(block.died, std::memory_order_release);
  if (runs::bury(runs::run(block.spot.place.run()))) [[unlikely]]
    tidy::after_move();
  return {block.born, block.size};
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
