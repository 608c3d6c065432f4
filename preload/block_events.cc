#include "preload/block_events.h"

#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/kinds.h"

namespace poireau::journal {

template <typename Event>
Event birth_of(uint64_t number, const tracked_alloc::Block& block) noexcept {
  Event event;
  event.id = number;
  event.address = block.address;
  event.size = block.size;
  event.alignment = uint64_t{1} << block.alignment_log2;
  event.function = name_of(static_cast<Kind>(block.kind));
  event.period = block.birth.period;
  event.since = block.birth.since;
  event.by_calls = block.birth.by_calls;
  event.guarded = block.guarded;
  event.guard_chance = block.guard_chance;
  event.thread = block.birth.thread;
  event.time = clock::nanoseconds(block.birth.time);
  event.truncated = depot::truncated(block.birth.stack);
  event.frames = depot::frames_of(block.birth.stack);
  return event;
}
template event::Alloc birth_of(uint64_t, const tracked_alloc::Block&) noexcept;
template event::Live birth_of(uint64_t, const tracked_alloc::Block&) noexcept;
template event::Resize birth_of(uint64_t, const tracked_alloc::Block&) noexcept;

event::Free death_of(uint64_t number, uint64_t address, const tracked_alloc::Death& death,
                     std::string_view function) noexcept {
  event::Free event;
  event.id = number;
  event.address = address;
  event.function = function;
  event.thread = death.thread;
  event.time = clock::nanoseconds(death.time);
  event.truncated = depot::truncated(death.stack);
  event.frames = depot::frames_of(death.stack);
  return event;
}

}  // namespace poireau::journal
