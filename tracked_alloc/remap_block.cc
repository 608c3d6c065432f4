#include "tracked_alloc/remap_block.h"

#include <cstring>

#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_runs.h"

namespace poireau::tracked_alloc::remap {

using places::Entry;

namespace blocks {

Block describe(const places::Spot& spot) noexcept {
  const Entry& entry = places::entries[spot.group];
  const uint64_t died = entry.died.load(std::memory_order_acquire), born = entry.born.load(std::memory_order_relaxed);
  const size_t capacity = kShapes[spot.place.shape()].capacity, size = size_of(born, capacity);
  const bool gone = spot.place.gone(), live = !gone && is_live(entry);
  const bool open = !gone && (died & places::kClosed) == 0;
  // By what is known of the address: the run may be of another shape by now.
  const uintptr_t first = places::address_of(spot.group - spot.number * kShapes[spot.place.shape()].group);
  const size_t place = runs::run(spot.place.run()).offset + (spot.block - first);
  return {.address = spot.block,
          .size = size,
          .room = size,
          .born = born >> places::kNoteShift,
          .died = live ? 0 : died >> places::kNoteShift,
          .live = live,
          .open = open || (died & places::kShown) != 0,
          .place = place};
}

Death describe_failure(const places::Spot& spot, uintptr_t address) noexcept {
  Death death;
  death.found = Death::Found::nowhere;
  const Answer answer = find(address);
  if (answer.found == Answer::Found::nowhere) return death;
  death.block = answer.block;
  const bool within = answer.offset >= 0 && static_cast<size_t>(answer.offset) < std::max<size_t>(answer.block.size, 1);
  if (answer.found == Answer::Found::dead && within)
    death.found = Death::Found::freed;
  else if (within)
    death.found = spot.block == address ? Death::Found::freed : Death::Found::inside;
  return death;
}

}  // namespace blocks

Answer find(uintptr_t address) noexcept {
  Answer answer;
  const places::Spot spot = owns(address) ? places::spot_of(address) : places::Spot{};
  if (!spot.place.there()) return answer;
  // Of one that has gone for long nothing is known but that it was.
  if (!blocks::is_born(places::entries[spot.group]) && !spot.place.gone()) return answer;
  const Shape& shape = kShapes[spot.place.shape()];
  if (spot.number >= group_of(shape, 1u << spot.place.shift())) return answer;
  answer.block = blocks::describe(spot);
  answer.found = answer.block.live ? Answer::Found::live : Answer::Found::dead;
  answer.offset = static_cast<ptrdiff_t>(address - answer.block.address);
  return answer;
}

size_t room_of(const void* ptr) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  const Answer answer = find(address);
  return answer.found == Answer::Found::live && answer.offset == 0 ? answer.block.room : 0;
}

noise::Damage inspect(const Block& seen) noexcept {
  const places::Spot spot = places::spot_of(seen.address);
  const uintptr_t shown = reinterpret_cast<uintptr_t>(arena::read(seen.place));
  const size_t capacity = kShapes[spot.place.shape()].capacity;
  const bool whole = noise::look(shown + seen.size, blocks::end_of_noise(shown, seen.size, capacity)).first == 0;
  return whole ? noise::Damage{} : inspect(seen.address);
}

noise::Damage inspect(uintptr_t address) noexcept {
  const Answer answer = find(address);
  if (answer.found != Answer::Found::live || answer.offset != 0) return {};
  const places::Spot spot = places::spot_of(address);
  // Through the anchor, for somebody may be freeing it.
  const uintptr_t shown = reinterpret_cast<uintptr_t>(arena::read(answer.block.place));
  const size_t capacity = kShapes[spot.place.shape()].capacity, size = answer.block.size;
  noise::Damage damage = noise::look(shown + size, blocks::end_of_noise(shown, size, capacity));
  const Answer after = find(address);
  if (after.found != answer.found || after.block.born != answer.block.born || after.block.size != size) return {};
  if (damage.first != 0) damage.first += address - shown;
  return damage;
}

bool live_in_run(size_t n, Batch& out) noexcept {
  out.count = 0;
  if (n >= runs::end_of_runs()) return false;
  const runs::Run& run = runs::run(static_cast<uint32_t>(n));
  const size_t first = run.first.load(std::memory_order_acquire);
  if (first == 0) return true;
  for (unsigned i = 0; i < run.blocks; ++i) {
    const places::Spot spot = places::spot_of(places::address_of(first + i * runs::shape_of(run).group));
    if (!spot.place.there() || spot.place.gone() || !blocks::is_live(places::entries[spot.group])) continue;
    const Block block = blocks::describe(spot);
    if (block.live) out.blocks[out.count++] = block;
  }
  return true;
}

}  // namespace poireau::tracked_alloc::remap
