#include "preload/journal.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>

#include "config/options.h"
#include "preload/audience.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/build_id.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/event.h"
#include "preload/introduction.h"
#include "preload/kinds.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/sink.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "preload/trace.h"

namespace poireau::journal {
namespace {

using tracked_alloc::Block;
using tracked_alloc::Record;
using tracked_alloc::State;
using tracked_alloc::region::Id;

// A record's note: the file of samples that its block is in, 0 if in none; and what is still to be written of it.
constexpr uint32_t kBirthOwed = uint32_t{1} << 31, kDeathOwed = uint32_t{1} << 30, kFile = kDeathOwed - 1;

constinit std::atomic<uint32_t> owed{0};  // at least so many, while nobody is looking for them
constinit std::atomic<uint64_t> never_written{0};
[[gnu::section(".lbss")]] constinit Audience readers{}, listeners{};
constinit std::string_view allocator{};

/// A walk over all homes, a few at a time, that writes what is owed and what would go with the oldest file.
struct Rounds {
  Id at{};
  bool on = false;
  uint32_t leaving = 0;  // that the walk was begun for
  uint32_t saved = 0;    // of the files up to this one all that lives has been written again
  uint32_t waits = 0;    // for a home that somebody is busy with
  bool skipped = false;  // one of those
};
constinit Rounds rounds{};
constinit uint64_t counters_told_at = 0;

void write(const event::Any& event) noexcept { static_cast<void>(trace::write(event)); }
void emit(const event::Any& event) noexcept { sink::emit(event); }

uint64_t number_of(Id id, const Record& record) noexcept {
  return uint64_t{record.uses} << 40 | uint64_t{id.area} << 32 | id.index;
}

template <typename Event>
Event birth(uint64_t id, const Block& block) noexcept {
  Event event;
  event.id = id;
  event.address = block.address;
  event.size = block.size;
  event.alignment = uint64_t{1} << block.alignment_log2;
  event.function = name_of(static_cast<Kind>(block.kind));
  event.period = block.birth.period;
  event.since = block.birth.since;
  event.by_calls = options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls;
  event.guarded = block.guarded;
  event.guard_chance = block.guard_chance;
  event.thread = block.birth.thread;
  event.time = clock::nanoseconds(block.birth.time);
  event.truncated = depot::truncated(block.birth.stack);
  event.frames = depot::frames_of(block.birth.stack);
  return event;
}

event::Free death_of(uint64_t id, uint64_t address, const tracked_alloc::Death& death,
                     std::string_view function) noexcept {
  event::Free event;
  event.id = id;
  event.address = address;
  event.function = function;
  event.thread = death.thread;
  event.time = clock::nanoseconds(death.time);
  event.truncated = depot::truncated(death.stack);
  event.frames = depot::frames_of(death.stack);
  return event;
}

/// The file that code is from, unless it was told.
void tell_module(Audience& audience, uintptr_t pc, void (*tell)(const event::Any&) noexcept) noexcept {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(found.dlfo_map_start);
  if (!audience.modules.add(scramble(begin ^ scramble(reinterpret_cast<uintptr_t>(found.dlfo_link_map))))) return;
  event::Module event;
  event.base = found.dlfo_link_map->l_addr;
  event.begin = begin;
  event.size = reinterpret_cast<uintptr_t>(found.dlfo_map_end) - begin;
  event.path = found.dlfo_link_map->l_name;
  if (event.path.empty()) event.path = process::executable();
  event.build_id = build_id_of(found.dlfo_map_start, found.dlfo_map_end);
  tell(event);
}

/// Whatever an event with this stack, of this thread, needs to be understood.
void prepare(Audience& audience, uint32_t stack, std::span<const uintptr_t> frames, uint32_t thread,
             void (*tell)(const event::Any&) noexcept) noexcept {
  if (stack == 0 || audience.stacks.add(stack))
    for (const uintptr_t pc : frames) tell_module(audience, pc, tell);
  if (thread != thread_number() || !audience.threads.add(thread)) return;
  char room[16];
  event::Thread event;
  event.thread = thread;
  if (sandbox::state() == sandbox::State::open) event.name = sys::thread_name(room);
  tell(event);
}

void forget(Audience& audience) noexcept {
  audience.stacks.forget();
  audience.modules.forget();
  audience.threads.forget();
}

/// Whether the trace can be written to, by who has the turn.
bool is_open() noexcept {
  const trace::Opened opened = trace::open();
  if (opened == trace::Opened::fresh) {
    forget(readers);
    static_cast<void>(introduce(allocator, write));
  }
  return opened != trace::Opened::none;
}

void tell_listeners(const event::Any& event, uint32_t stack, std::span<const uintptr_t> frames,
                    uint32_t thread) noexcept {
  if (sink::has_new_listener()) {
    forget(listeners);
    static_cast<void>(introduce(allocator, emit));
  }
  prepare(listeners, stack, frames, thread, emit);
  sink::emit(event);
}

// The rounds, and everything below up to the functions of the header, with a turn.

void tell_drops(std::string_view cause, uint64_t count) noexcept {
  if (count == 0) return;
  event::Drops event;
  event.cause = cause;
  event.count = count;
  write(event);
}

uint64_t unplaced(int cause) noexcept {
  uint64_t sum = 0;
  for (const auto& counter : stats.unplaced[cause]) sum += counter.load(std::memory_order_relaxed);
  return sum;
}

void tell_counters() noexcept {
  counters_told_at = clock::ticks();
  event::Cost event;
  event.cycles = stats.cycles.load(std::memory_order_relaxed);
  event.cycles_per_second = clock::ticks_per_second();
  event.samples = stats.samples.load(std::memory_order_relaxed);
  event.sampled_bytes = stats.sampled_bytes.load(std::memory_order_relaxed);
  event.counted_bytes = stats.counted_bytes.load(std::memory_order_relaxed);
  event.trace_bytes = trace::bytes();
  write(event);
  tell_drops("no room in the trace", trace::dropped());
  tell_drops("files removed early to keep within trace_limit", trace::removed_early());
  tell_drops("packets overwritten, no new file can be had", trace::overwritten());
  tell_drops("never written", lost());
  tell_drops("no room for the stack", depot::refused());
  tell_drops("overrun by a signal handler", stats.dropped.load(std::memory_order_relaxed));
  tell_drops("before the options were known", stats.early.load(std::memory_order_relaxed));
  static constexpr std::string_view kCauses[POIREAU_DROPS] = {"no home: sandbox", "no home: limits", "no home: memory",
                                                              "no home: kind of request", "no home: others free it"};
  for (int cause = 0; cause < POIREAU_DROPS; ++cause) tell_drops(kCauses[cause], unplaced(cause));
}

/// A record as it was at one moment; false: somebody was busy with it.
struct Snapshot {
  Block block;
  uint64_t number;
  State state;
};
bool look(Id id, const Record& record, Snapshot& out) noexcept {
  const uint32_t before = record.state_and_turn.load(std::memory_order_acquire);
  out = {describe(record), number_of(id, record), static_cast<State>(before & 0xff)};
  std::atomic_signal_fence(std::memory_order_acquire);  // the processor keeps loads in order
  return out.state != State::busy && record.state_and_turn.load(std::memory_order_relaxed) == before;
}

bool is_live(State state) noexcept { return state == State::live || state == State::watched; }

/// Whether the files up to `leaving` are the last that know of a block.
bool would_go(uint32_t note, uint32_t leaving) noexcept {
  return (note & kFile) >= trace::first() && (note & kFile) <= leaving;
}

/// A birth that nobody could write when it came.
uint32_t write_owed_birth(uint32_t note, uint64_t number, const Block& block) noexcept {
  prepare(readers, block.birth.stack, depot::frames_of(block.birth.stack), 0, write);
  return (note & kFile) == 0 ? trace::write(birth<event::Alloc>(number, block))
                             : trace::write(birth<event::Resize>(number, block));
}

/// What has been written is not owed any more, unless the home has another block by now. A death may just be noted.
void settle(Id id, Record& record, uint64_t number, uint32_t note, uint32_t file) noexcept {
  uint32_t now = note;
  while (number_of(id, record) == number && !record.note.compare_exchange_weak(now, (now & kDeathOwed) | file))
    if ((now & ~kDeathOwed) != (note & ~kDeathOwed)) return;
}

enum class Step : uint8_t { nothing, wrote, busy, full };

/// Writes what one home has to be written of it.
Step go_round_to(Id id) noexcept {
  if (!exists(id)) return Step::nothing;
  Record& record = record_of(id);
  const uint32_t note = record.note.load(std::memory_order_acquire);
  const bool owes = (note & (kBirthOwed | kDeathOwed)) != 0;
  if (!owes && !would_go(note, rounds.leaving)) return Step::nothing;
  Snapshot now;
  if (!look(id, record, now)) return Step::busy;
  const bool live = is_live(now.state);
  if (!live && (!owes || now.block.death.time == 0)) return Step::nothing;
  uint32_t file = note & kFile;
  if ((note & kBirthOwed) != 0)
    file = write_owed_birth(note, now.number, now.block);
  else if (live)
    file = trace::write(birth<event::Live>(now.number, now.block));
  if (file == 0) return Step::full;
  settle(id, record, now.number, note, file);
  if (live || (note & kDeathOwed) == 0) return Step::wrote;
  prepare(readers, now.block.death.stack, depot::frames_of(now.block.death.stack), 0, write);
  if (trace::write(death_of(now.number, now.block.address, now.block.death, {})) == 0) return Step::full;
  uint32_t owed_death = file | kDeathOwed;
  record.note.compare_exchange_strong(owed_death, file);
  return Step::wrote;
}

/// At most so many events, and a few looks. `patient`: waits for homes that somebody is busy with.
void go_rounds(uint32_t copies = 2, bool patient = true) noexcept {
  if (!rounds.on) {
    uint32_t leaving = trace::leaving();
    if (leaving <= rounds.saved) leaving = 0;
    if (leaving == 0 && owed.load(std::memory_order_relaxed) == 0) return;
    rounds = {.at = {}, .on = true, .leaving = leaving, .saved = rounds.saved};
    owed.exchange(0, std::memory_order_acquire);
  }
  // So many that a round ends before a file is full, if that can be had.
  const uint64_t wanted = uint64_t{copies} * tracked_alloc::region::slots() / (trace::events_a_file() + 1);
  uint64_t looks = patient ? 16 + std::min<uint64_t>(wanted, 256) : UINT64_MAX;
  while (copies > 0 && looks-- > 0) {
    const Step step = go_round_to(rounds.at);
    if (step == Step::full || (step == Step::busy && patient && ++rounds.waits < 64)) return;
    if (step == Step::busy) {
      rounds.skipped = true;
      owed.fetch_add(1, std::memory_order_relaxed);
    }
    rounds.waits = 0;
    if (step == Step::wrote) --copies;
    if (tracked_alloc::region::step(rounds.at)) continue;
    rounds.on = false;
    if (rounds.skipped) return;
    rounds.saved = std::max(rounds.saved, rounds.leaving);
    if (rounds.leaving == 0 || rounds.leaving != trace::leaving()) return;
    event::Checkpoint event;
    event.oldest = rounds.leaving + 1;
    const tracked_alloc::Census census = tracked_alloc::census();
    event.live = census.live;
    event.live_bytes = census.live_bytes;
    write(event);
    trace::left();
    return;
  }
}

void tell_counters_now_and_then() noexcept {
  if (clock::ticks() - counters_told_at > clock::ticks_per_second()) tell_counters();
}

template <typename Event>
void tell_birth(Id id) noexcept {
  Record& record = record_of(id);
  const Block block = describe(record);
  const auto event = birth<Event>(number_of(id, record), block);
  if (sink::listens(Event::kType)) tell_listeners(event, block.birth.stack, event.frames, event.thread);
  if (!trace::wanted()) return;
  uint32_t file = 0;
  const trace::Turn turn;
  if (turn) {
    if (!is_open()) return;
    prepare(readers, block.birth.stack, event.frames, event.thread, write);
    tell_counters_now_and_then();
    file = trace::write(event);
    if (file != 0) go_rounds();
  }
  // Where it has been told of before, what is owed is that it is another block now.
  const uint32_t before = record.note.load(std::memory_order_relaxed) & kFile;
  record.note.store(file != 0 ? file : kBirthOwed | before, std::memory_order_release);
  if (file == 0) owed.fetch_add(1, std::memory_order_release);
}

/// True if all that there is to be written of a block's end, and of its birth, has been.
bool write_death(Record& record, const Block& block, const event::Free& event, uint32_t stack) noexcept {
  const uint32_t note = record.note.load(std::memory_order_relaxed);
  if ((note & kBirthOwed) != 0) {
    const uint32_t file = write_owed_birth(note, event.id.value, block);
    if (file == 0) return false;
    record.note.store(file, std::memory_order_relaxed);
  }
  prepare(readers, stack, event.frames, event.thread, write);
  if (trace::write(event) == 0) return false;
  go_rounds();
  return true;
}

}  // namespace

void born(const tracked_alloc::Home& home) noexcept {
  if ((home.note & (kBirthOwed | kDeathOwed)) != 0) never_written.fetch_add(1, std::memory_order_relaxed);
  tell_birth<event::Alloc>(home.id);
}

void resized(Id id) noexcept { tell_birth<event::Resize>(id); }

void died(const tracked_alloc::Claim& claim, const tracked_alloc::Death& death, std::string_view function) noexcept {
  Record& record = record_of(claim.id);
  const event::Free event = death_of(number_of(claim.id, record), claim.block.address, death, function);
  if (sink::listens(event::Type::free)) tell_listeners(event, death.stack, event.frames, event.thread);
  if (!trace::wanted() || record.note.load(std::memory_order_relaxed) == 0) return;
  const trace::Turn turn;
  if (turn && (!is_open() || write_death(record, claim.block, event, death.stack))) return;
  record.note.fetch_or(kDeathOwed, std::memory_order_release);
  owed.fetch_add(1, std::memory_order_relaxed);
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
  if (error.block != 0)
    if (const auto place = tracked_alloc::region::find(error.block); place.ours)
      event.id = number_of(place.id, record_of(place.id));
  if (sink::listens(event::Type::error)) tell_listeners(event, 0, event.frames, event.thread);
  if (!trace::wanted()) return;
  const trace::Turn turn;
  if (!turn || !is_open()) return;
  prepare(readers, 0, event.frames, event.thread, write);
  write(event);
}

void option_changed(std::string_view, std::string_view) noexcept {}

void set_allocator(std::string_view file) noexcept { allocator = file; }

void forget_modules() noexcept {
  for (Audience* audience : {&readers, &listeners}) {
    audience->stacks.forget();
    audience->modules.forget();
  }
}

void forked() noexcept {
  trace::forked();
  forget(readers);
  forget(listeners);
  // What the parent owed is the parent's to write.
  if (owed.exchange(0, std::memory_order_relaxed) != 0 || rounds.on)
    tracked_alloc::region::for_each(
        [](Id, Record& record) { record.note.fetch_and(kFile, std::memory_order_relaxed); });
  rounds = {};
  never_written.store(0, std::memory_order_relaxed);
}

void finish() noexcept {
  if (!trace::wanted() || trace::bytes() == 0) return;
  {
    const trace::Turn turn;
    if (!turn || !is_open()) return;
    trace::be_hopeful();
    for (int times = 0; times < 3 && (rounds.on || owed.load(std::memory_order_relaxed) != 0); ++times)
      go_rounds(UINT32_MAX, false);
    tell_counters();
  }
  trace::finish();
}

uint64_t lost() noexcept { return never_written.load(std::memory_order_relaxed); }

}  // namespace poireau::journal
