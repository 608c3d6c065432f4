#include "preload/journal.h"

#include <atomic>

#include "config/options.h"
#include "preload/audience.h"
#include "preload/block_events.h"
#include "preload/clock.h"
#include "preload/counters.h"
#include "preload/event.h"
#include "preload/rounds.h"
#include "preload/sink.h"
#include "preload/thread.h"
#include "preload/trace.h"
#include "tracked_alloc/records.h"

namespace poireau::journal {
namespace {

using tracked_alloc::Block;
using tracked_alloc::Record;
using tracked_alloc::region::Id;

constinit std::atomic<uint64_t> never_written{0};
constinit std::atomic<bool> options_owed{false};

void write(const event::Any& event) noexcept { static_cast<void>(trace::write(event)); }

/// Changes that came when nobody could write them.
void write_owed_options() noexcept {
  if (!options_owed.exchange(false, std::memory_order_relaxed)) return;
  for (const config::OptionInfo& option : config::all_options()) {
    if (option.changes != config::Phase::live) continue;
    Text scratch;
    event::Option event;
    event.name = option.name();
    event.value = option.show(scratch);
    write(event);
  }
}

/// Whether the trace can be written to, by who has the turn.
bool is_open() noexcept {
  const trace::Opened opened = trace::open();
  if (opened == trace::Opened::fresh) {
    introduce_to(Audience::readers);
    options_owed.store(false, std::memory_order_relaxed);
  }
  if (opened == trace::Opened::ready && options_owed.load(std::memory_order_relaxed)) [[unlikely]]
    write_owed_options();
  return opened != trace::Opened::none;
}

void greet_listeners() noexcept {
  if (sink::has_new_listener()) introduce_to(Audience::listeners);
}

void tell_listeners(const event::Any& event, uint32_t stack, std::span<const uintptr_t> frames,
                    uint32_t thread) noexcept {
  greet_listeners();
  prepare(Audience::listeners, stack, frames, thread);
  sink::emit(event);
}

/// The home of the block that is at this address, or was the last there; false: none that has a record.
bool find_home(uintptr_t address, Id& id) noexcept {
  if (Block known; tracked_alloc::remap::owns(address))
    return tracked_alloc::records::id_of(tracked_alloc::remap::find(address).block.born, id) &&
           tracked_alloc::records::find(id, address, known);
  const auto place = tracked_alloc::region::find(address);
  id = place.id;
  return place.ours;
}

template <typename Event>
void tell_birth(Id id) noexcept {
  Record& record = record_of(id);
  const Block block = describe(record);
  const auto event = birth_of<Event>(number_of(id, record), block);
  if (sink::listens(Event::kType)) tell_listeners(event, block.birth.stack, event.frames, event.thread);
  if (!trace::asked_for()) return;
  uint32_t file = 0;
  if (trace::wanted()) {
    const trace::Turn turn;
    if (turn && is_open()) {
      prepare(Audience::readers, block.birth.stack, event.frames, event.thread);
      tell_counters_now_and_then();
      file = trace::write(event);
      if (file != 0) go_rounds();
    }
  }
  // Where it has been told of before, what is owed is that it is another block now.
  const uint32_t before = record.note.load(std::memory_order_relaxed) & (kFile | kGhost);
  record.note.store(file != 0 ? file : kBirthOwed | before, std::memory_order_release);
  if (file == 0) owe();
}

/// True if all that there is to be written of a block's end, and of its birth, has been.
bool write_death(Record& record, const Block& block, const event::Free& event, uint32_t stack) noexcept {
  const uint32_t note = record.note.load(std::memory_order_relaxed);
  if ((note & kBirthOwed) != 0) {
    const uint32_t file = write_owed_birth(note, event.id.value, block);
    if (file == 0) return false;
    record.note.store(file, std::memory_order_relaxed);
  }
  prepare(Audience::readers, stack, event.frames, event.thread);
  if (trace::write(event) == 0) return false;
  go_rounds();
  return true;
}

}  // namespace

void hidden(const tracked_alloc::Home& home) noexcept {
  if ((home.note & (kBirthOwed | kDeathOwed)) != 0) {
    if (trace::wanted()) never_written.fetch_add(1, std::memory_order_relaxed);
    if ((home.note & (kFile | kGhost)) != 0) record_of(home.id).note.store(kGhost, std::memory_order_relaxed);
  }
}

void born(const tracked_alloc::Home& home) noexcept {
  hidden(home);
  tell_birth<event::Alloc>(home.id);
}

void resized(Id id) noexcept { tell_birth<event::Resize>(id); }

void died(const tracked_alloc::Claim& claim, const tracked_alloc::Death& death, std::string_view function) noexcept {
  Record& record = record_of(claim.id);
  const event::Free event = death_of(number_of(claim.id, record), claim.block.address, death, function);
  if (sink::listens(event::Type::free)) tell_listeners(event, death.stack, event.frames, event.thread);
  const uint32_t note = record.note.load(std::memory_order_relaxed);
  if (note == 0) return;
  bool known = (note & (kFile | kGhost)) != 0;
  if (trace::wanted()) {
    const trace::Turn turn;
    known = !turn || is_open();
    if (turn && known && write_death(record, claim.block, event, death.stack)) return;
  }
  if (!known) {
    record.note.store(0, std::memory_order_release);  // not a word of it is needed
    return;
  }
  record.note.fetch_or(kDeathOwed, std::memory_order_release);
  owe();
}

void erred(const Error& error) noexcept {
  event::Error event;
  event.error = error.error;
  event.address = error.address;
  event.size = error.size;
  event.function = error.function;
  event.thread = thread_number();
  event.time = clock::nanoseconds(clock::ticks());
  event.frames = error.frames;
  if (Id id; error.block != 0 && find_home(error.block, id) && is_sampled(record_of(id).birth))
    event.id = number_of(id, record_of(id));
  if (sink::listens(event::Type::error)) tell_listeners(event, 0, event.frames, event.thread);
  if (!trace::wanted()) return;
  const trace::Turn turn;
  if (!turn || !is_open()) return;
  prepare(Audience::readers, 0, event.frames, event.thread);
  write(event);
}

void noted(std::string_view name, std::string_view value) noexcept {
  event::Option event;
  event.name = name;
  event.value = value;
  if (sink::listens(event::Type::option)) {
    greet_listeners();
    sink::emit(event);
  }
  if (!trace::wanted()) return;
  const trace::Turn turn;
  if (turn && is_open()) static_cast<void>(trace::write(event));
}

bool kept(uintptr_t block) noexcept {
  Id home;
  if (!find_home(block, home) || !tracked_alloc::region::exists(home)) return false;
  const Record& record = record_of(home);
  const Block there = describe(record);
  if (!there.live || there.address != block) return false;
  char id[kMostDigits];
  const char* const end = write_number(id, number_of(home, record), 16);
  noted("keep", {id, end});
  return true;
}

void option_changed(std::string_view name, std::string_view value) noexcept {
  event::Option event;
  event.name = name;
  event.value = value;
  if (sink::listens(event::Type::option)) {
    greet_listeners();
    sink::emit(event);
  }
  // A trace that is not there yet will tell all options in its first event.
  if (trace::directory().empty()) return;
  const trace::Turn turn;
  if (!turn || trace::directory().empty() || trace::write(event) == 0)
    options_owed.store(true, std::memory_order_relaxed);
}

void forked() noexcept {
  forget_rounds();
  trace::forked();
  forget_audiences();
  never_written.store(0, std::memory_order_relaxed);
  options_owed.store(false, std::memory_order_relaxed);
}

void finish() noexcept {
  if (trace::directory().empty()) return;
  if (trace::wanted()) {
    const trace::Turn turn;
    if (!turn || !is_open()) return;
    trace::be_hopeful();
    finish_rounds();
    tell_counters();
  }
  trace::finish();
}

uint64_t lost() noexcept { return never_written.load(std::memory_order_relaxed); }

}  // namespace poireau::journal
