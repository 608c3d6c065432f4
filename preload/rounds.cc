#include "preload/rounds.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "preload/audience.h"
#include "preload/block_events.h"
#include "preload/clock.h"
#include "preload/counters.h"
#include "preload/depot.h"
#include "preload/trace.h"

namespace poireau::journal {
namespace {

using tracked_alloc::Block;
using tracked_alloc::Record;
using tracked_alloc::State;
using tracked_alloc::region::Id;

constinit std::atomic<uint32_t> owed{0};  // at least so many, while nobody is looking for them

struct Rounds {
  Id at{};
  bool on = false;
  bool asked = false;           // it is the walk of `asked`
  bool skipped = false;         // a home that somebody was busy with
  uint32_t waits = 0;           // for one
  uint32_t from = 0, upto = 0;  // what lives in these files is written again
  uint32_t saved = 0;           // of the files up to this one all has been
  uint32_t let_go = 0;          // and those up to this one were let go
};
constinit Rounds rounds{};

/// The checkpoint that somebody wants, with a turn. Its walk gives way to the one for a file that has to leave: two
/// that grow the trace at once would be too much for its limit.
struct Asked {
  uint32_t upto = 0;  // the file before the one in which it was begun
  Checkpoint result{};
};
constinit Asked asked{};

// Of who wants it, without a turn.
constexpr uint32_t kMostInVain = 200;
constinit std::atomic<bool> wanted{false};
constinit std::atomic<uint32_t> in_vain{0};  // steps that got no turn, or ended a walk that had skipped a home

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

/// Whether the walk's files are the last that know of a block.
bool would_go(uint32_t note) noexcept { return (note & kFile) >= rounds.from && (note & kFile) <= rounds.upto; }

void prepare_for_stack(uint32_t stack) noexcept { prepare(Audience::readers, stack, depot::frames_of(stack), 0); }

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
  if (!owes && !would_go(note)) return Step::nothing;
  Snapshot now;
  if (!look(id, record, now)) return Step::busy;
  const bool live = is_live(now.state);
  if (!live && (!owes || now.block.death.time == 0)) return Step::nothing;
  uint32_t file = note & kFile;
  if ((note & kBirthOwed) != 0) {
    file = write_owed_birth(note, now.number, now.block);
  } else if (live) {
    prepare_for_stack(now.block.birth.stack);
    file = trace::write(birth_of<event::Live>(now.number, now.block));
  }
  if (file == 0) return Step::full;
  settle(id, record, now.number, note, file);
  if (live || (note & kDeathOwed) == 0) return Step::wrote;
  prepare_for_stack(now.block.death.stack);
  if (trace::write(death_of(now.number, now.block.address, now.block.death, {})) == 0) return Step::full;
  uint32_t owed_death = file | kDeathOwed;
  record.note.compare_exchange_strong(owed_death, file);
  return Step::wrote;
}

/// Files of this process up to here have been saved, or hold nothing.
uint32_t saved() noexcept { return std::max(rounds.saved, trace::first() - 1); }

/// The file that has to leave next, or the last one that left too early, and with it what nobody has written again; 0:
/// none.
uint32_t leaving() noexcept {
  const uint32_t next = trace::leaving(), file = next != 0 ? next : trace::oldest() - 1;
  if (file > saved()) return file;
  if (next > rounds.let_go) {
    rounds.let_go = next;
    trace::left();
  }
  return 0;
}

/// A file of the checkpoint has left too early.
bool is_outgrown() noexcept { return trace::oldest() - 1 > std::max(saved(), asked.upto); }

bool is_asked() noexcept { return asked.result.state == Checkpoint::State::going; }

/// False: there is nothing to walk for.
bool begin_round(uint32_t to_leave) noexcept {
  if (to_leave == 0 && !is_asked() && owed.load(std::memory_order_relaxed) == 0) return false;
  rounds.at = {};
  rounds.on = true;
  rounds.asked = to_leave == 0 && is_asked();
  rounds.skipped = false;
  rounds.waits = 0;
  rounds.from = rounds.asked ? 1 : trace::first();  // a fork child's checkpoint holds what it has inherited, too
  rounds.upto = rounds.asked ? asked.upto : to_leave;
  owed.exchange(0, std::memory_order_acquire);
  return true;
}

bool is_on() noexcept {
  const uint32_t to_leave = leaving();
  return (rounds.on && (to_leave == 0 || !rounds.asked)) || begin_round(to_leave);
}

Checkpoint write_checkpoint(uint32_t oldest) noexcept {
  const tracked_alloc::Census census = tracked_alloc::census();
  event::Checkpoint event;
  event.oldest = oldest - (trace::first() - 1);
  event.live = census.live;
  event.live_bytes = census.live_bytes;
  const uint64_t time = clock::nanoseconds(clock::ticks());
  const bool done = trace::write(event) != 0;
  return {done ? Checkpoint::State::done : Checkpoint::State::failed, event.oldest, census.live, census.live_bytes,
          time};
}

void end_asked() noexcept {
  if (is_outgrown()) {
    asked.result.state = Checkpoint::State::outgrown;
    return;
  }
  tell_counters();
  asked.result = write_checkpoint(asked.upto + 1);
  if (!trace::flush() || asked.upto + 1 < trace::first()) asked.result.state = Checkpoint::State::failed;
}

/// The walk has been everywhere.
void end_round() noexcept {
  rounds.on = false;
  if (rounds.skipped) return;
  rounds.saved = std::max(rounds.saved, rounds.upto);
  if (rounds.asked)
    end_asked();
  else if (rounds.upto != 0 && rounds.upto + 1 >= trace::oldest())
    static_cast<void>(write_checkpoint(rounds.upto + 1));
  static_cast<void>(leaving());
}

/// At most so many events and looks; false: there is no room. `patient`: waits for homes that somebody is busy with.
bool walk(uint32_t copies, uint64_t looks, bool patient) noexcept {
  while (copies > 0 && looks-- > 0) {
    const Step step = go_round_to(rounds.at);
    if (step == Step::full) return false;
    if (step == Step::busy && patient && ++rounds.waits < 64) return true;
    if (step == Step::busy) {
      rounds.skipped = true;
      owe();
    }
    rounds.waits = 0;
    if (step == Step::wrote) --copies;
    if (tracked_alloc::region::step(rounds.at)) continue;
    end_round();
    return true;
  }
  return true;
}

void give_up(Checkpoint::State why) noexcept {
  asked.result.state = why;
  if (std::exchange(rounds.asked, false)) rounds.on = false;
  owe();  // perhaps: it has not been everywhere
}

/// A step, by who has the turn.
Checkpoint step() noexcept {
  constexpr uint32_t kCopies = 64, kLooks = 512;
  if (!trace::wanted() || trace::directory().empty())  // or not any more
    give_up(Checkpoint::State::failed);
  else if (asked.result.state == Checkpoint::State::none)
    asked = {.upto = trace::current() - 1, .result = {.state = Checkpoint::State::going}};
  if (is_asked() && is_on() && !walk(kCopies, kLooks, false)) give_up(Checkpoint::State::failed);
  if (is_asked() && is_outgrown()) give_up(Checkpoint::State::outgrown);
  const Checkpoint result = asked.result;
  if (!is_asked()) asked = {};
  return result;
}

}  // namespace

void owe() noexcept { owed.fetch_add(1, std::memory_order_release); }

uint32_t write_owed_birth(uint32_t note, uint64_t number, const Block& block) noexcept {
  prepare_for_stack(block.birth.stack);
  return (note & kFile) == 0 ? trace::write(birth_of<event::Alloc>(number, block))
                             : trace::write(birth_of<event::Resize>(number, block));
}

void go_rounds() noexcept {
  constexpr uint32_t kCopies = 2;
  if (!is_on()) return;
  // So many that a round ends before a file is full, if that can be had.
  const uint64_t wanted = uint64_t{kCopies} * tracked_alloc::region::slots() / (trace::events_a_file() + 1);
  static_cast<void>(walk(kCopies, 16 + std::min<uint64_t>(wanted, 256), true));
}

void finish_rounds() noexcept {
  const auto owing = [] { return rounds.on || owed.load(std::memory_order_relaxed) != 0; };
  for (int times = 0; times < 3 && owing() && is_on(); ++times) static_cast<void>(walk(UINT32_MAX, UINT64_MAX, false));
}

void forget_rounds() noexcept {
  const bool none = trace::directory().empty();
  const bool owing = owed.exchange(0, std::memory_order_relaxed) != 0 || rounds.on;
  // A birth that the parent will write is as good as in the file that it writes to. Who has no trace owes births only.
  const uint32_t kept = trace::wanted() ? 0 : kBirthOwed, inherited = trace::wanted() ? trace::current() : 0;
  if (owing && !none)
    tracked_alloc::region::for_each([kept, inherited](Id, Record& record) {
      const uint32_t note = record.note.load(std::memory_order_relaxed), file = note & kFile;
      const bool birth = (note & (kBirthOwed | kDeathOwed)) == kBirthOwed;
      const uint32_t now = !birth ? file : (note & kept) | (file != 0 ? file : inherited);
      if (now != note) record.note.store(now, std::memory_order_relaxed);
    });
  if (owing && (none || kept != 0)) owe();
  rounds = {};
  asked = {};
  wanted.store(false, std::memory_order_relaxed);
}

bool begin_checkpoint() noexcept {
  if (wanted.load(std::memory_order_relaxed)) return true;
  if (!trace::wanted() || trace::directory().empty()) return false;
  in_vain.store(0, std::memory_order_relaxed);
  wanted.store(true, std::memory_order_relaxed);
  return true;
}

Checkpoint step_checkpoint() noexcept {
  if (!wanted.load(std::memory_order_relaxed)) return {};
  Checkpoint now{.state = Checkpoint::State::going};
  bool vain = true;
  if (const trace::Turn turn; turn) {
    now = step();
    vain = !rounds.on && rounds.skipped;
  }
  if (vain && in_vain.fetch_add(1, std::memory_order_relaxed) > kMostInVain) now.state = Checkpoint::State::failed;
  if (now.state != Checkpoint::State::going) wanted.store(false, std::memory_order_relaxed);
  return now;
}

}  // namespace poireau::journal
