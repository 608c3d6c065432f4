#include "preload/control_verbs.h"

#include "config/explain.h"
#include "config/options.h"
#include "preload/base/text.h"
#include "preload/clock.h"
#include "preload/control.h"
#include "preload/control_options.h"
#include "preload/control_socket.h"
#include "preload/control_stats.h"
#include "preload/control_sweep.h"
#include "preload/counters.h"
#include "preload/governor.h"
#include "preload/process.h"
#include "preload/rounds.h"
#include "preload/sampled.h"
#include "preload/thread.h"
#include "preload/trace.h"

namespace poireau::control {
namespace {

using config::OptionInfo;

// In one order. The first ones only read.
enum class Verb : uint8_t { hello, list, get, stats, set, arm, disarm, flush, snapshot, verify, quit, sweep, holders };
constexpr char kVerbs[] = "hello, list, get, stats, set, arm, disarm, flush, snapshot, verify, quit, sweep, holders";
constexpr Verb kLastToRead = Verb::stats;

// What takes longer; nothing if it is `hello`, that never does.
constinit Verb at_work{};
constinit sampled::Check check{};
constexpr size_t kStackToTell = 8 << 10;  // of an error that is found
constexpr uint64_t kPatience = 5;         // seconds for a thread to come along that has it
constinit uint64_t cramped_since = 0;     // in ticks; 0: the last one had it

Answer& begin(Answer& answer, Verb verb) noexcept {
  return answer.start().truth("ok", true).text("do", config::choice_name(kVerbs, static_cast<int>(verb)));
}

/// Who we are, as our socket's name says it: poireau/<uid>/<pid>/<start time>.
void add_identity(Answer& answer) noexcept {
  std::string_view rest = name();
  config::take_until(rest, '/');
  uint64_t numbers[3]{};
  for (uint64_t& number : numbers)
    if (!read_number(config::take_until(rest, '/'), 10, UINT64_MAX, number)) number = 0;
  add_numbers(answer, "uid pid start", numbers);
  const process::RunId id = process::run_id();
  char digits[32];
  for (unsigned i = 0; i < 32; ++i)
    digits[i] = "0123456789abcdef"[(i < 16 ? id.high : id.low) >> (60 - 4 * (i % 16)) & 15];
  answer.text("run_id", {digits, sizeof digits}).text("program", process::program());
}

[[gnu::noinline]] void add_greeting(Answer& answer) noexcept {
  answer.text("poireau", POIREAU_VERSION).number("protocol", 1);
  add_identity(answer);
  Text control;
  answer.text("control", options.control.show(control));
}

[[gnu::noinline]] void add_state(Answer& answer) noexcept {
  Text period;
  answer.truth("armed", options.armed.load(std::memory_order_relaxed))
      .text("period", period.bytes(period_now()).view());
}

void list(Answer& answer) noexcept {
  begin(answer, Verb::list).begin("options", '[');
  for (const OptionInfo& option : config::all_options()) {
    answer.begin({}, '{');
    add_option(answer, option);
    answer.end();
  }
}

void set(Answer& answer, const Request& request) noexcept {
  if (!request.has_option || !request.has_value) return answer.fail("set needs an option and a value");
  const OptionInfo* const option = change(answer, request.option, request.value);
  if (option == nullptr) return;
  add_option(begin(answer, Verb::set), *option);
  answer.text("before", value_before());
}

void get(Answer& answer, const Request& request) noexcept {
  if (!request.has_option) return answer.fail("get needs an option");
  const OptionInfo* const option = look_up(answer, request.option);
  if (option == nullptr) return;
  add_option(begin(answer, Verb::get), *option);
  if (option == config::find("sample_period")) add_state(answer);
}

void arm(Answer& answer, Verb verb) noexcept {
  if (change(answer, "armed", verb == Verb::arm ? "on" : "off") == nullptr) return;
  add_state(begin(answer, verb));
}

[[gnu::noinline]] Done begin_checkpoint(Answer& answer, Verb verb) noexcept {
  if (journal::begin_checkpoint()) {
    at_work = verb;
    return Done::later;
  }
  const SinkKind sink = options.sink.load(std::memory_order_relaxed);
  Text text, scratch;
  text << "there is no trace: ";
  if (sink != SinkKind::ctf && sink != SinkKind::both)
    text << "sink = " << options.sink.show(scratch);
  else if (!options.record.load(std::memory_order_relaxed))
    text << "record = off";
  else
    text << (trace::directory().empty() ? "no sample has been taken yet, or there is no room for one"
                                        : "it can't be written");
  answer.fail(text.view());
  return Done::now;
}

/// False: too many threads in a row had no room for it.
bool is_worth_waiting() noexcept {
  const uint64_t now = clock::ticks();
  if (cramped_since == 0) cramped_since = now;
  return now - cramped_since < kPatience * clock::ticks_per_second();
}

Done begin_verify() noexcept {
  check = {};
  cramped_since = 0;
  at_work = Verb::verify;
  return Done::later;
}

/// What has homes keeps them, and its end is told of.
void quit(Answer& answer) noexcept {
  sampled::set_dormant();
  forget_work();
  if (const trace::Turn turn; turn && trace::wanted() && trace::bytes() != 0) {
    journal::tell_counters();
    static_cast<void>(trace::flush());
  }
  begin(answer, Verb::quit);
  close_for_good();
}

[[gnu::noinline]] void refuse_verb(Answer& answer, std::string_view verb, std::string_view why,
                                   std::string_view more) noexcept {
  Text text;
  text << "\"";
  config::add_foreign(text, verb, 32);
  text << "\" " << why << more;
  answer.fail(text.view());
}

[[gnu::noinline]] void forbid(Answer& answer, std::string_view verb) noexcept {
  Text scratch;
  refuse_verb(answer, verb, "is not allowed: control = ", options.control.show(scratch));
}

void answer_checkpoint(Answer& answer, const journal::Checkpoint& checkpoint) noexcept {
  using enum journal::Checkpoint::State;
  if (checkpoint.state == outgrown) return answer.fail("more is alive than trace_limit has room for");
  if (checkpoint.state != done) return answer.fail("the trace can't be written now");
  begin(answer, at_work)
      .text("trace", trace::directory())
      .number("file", checkpoint.file)
      .number("live", checkpoint.live)
      .number("live_bytes", checkpoint.live_bytes)
      .number("time", checkpoint.time);
  if (at_work != Verb::snapshot) return;
  answer.begin("stats", '{');
  add_stats(answer);
  answer.end();
}

}  // namespace

uint64_t period_now() noexcept { return sampled::dormant() ? 0 : governor::period(); }

void greet(Answer& answer) noexcept { add_greeting(answer.start()); }

Done carry_out(const Request& request, Answer& answer) noexcept {
  const int known = config::choice_number(kVerbs, request.verb);
  const auto verb = static_cast<Verb>(known);
  const Control allowed = options.control.load(std::memory_order_relaxed);
  if (!request.wrong.empty()) {
    answer.fail(request.wrong);
  } else if (known < 0) {
    refuse_verb(answer, request.verb, "is no verb; there are ", kVerbs);
  } else if (allowed < (verb <= kLastToRead ? Control::read : Control::full)) {
    forbid(answer, request.verb);
  } else if (verb >= Verb::flush && verb <= Verb::verify && is_at_work()) {
    answer.fail("another request is being carried out; ask again");
  } else {
    switch (verb) {
      case Verb::hello:
        add_greeting(begin(answer, verb));
        add_state(answer);
        answer.number("age_ns", clock::age());
        break;
      case Verb::list:
        list(answer);
        break;
      case Verb::get:
        get(answer, request);
        break;
      case Verb::stats:
        add_stats(begin(answer, verb));
        break;
      case Verb::set:
        set(answer, request);
        break;
      case Verb::arm:
      case Verb::disarm:
        arm(answer, verb);
        break;
      case Verb::flush:
      case Verb::snapshot:
        return begin_checkpoint(answer, verb);
      case Verb::verify:
        return begin_verify();
      case Verb::quit:
        quit(answer);
        break;
      case Verb::sweep:
        sweep_now(answer);
        break;
      case Verb::holders:
        tell_holders(answer);
        break;
    }
  }
  return Done::now;
}

Done go_on(Answer* answer) noexcept {
  if (at_work == Verb::verify) {
    const bool has_room = room_on_stack(kStackToTell);
    if (has_room) cramped_since = 0;
    if (has_room ? check_some(check) : is_worth_waiting()) return Done::later;
    if (answer != nullptr && !has_room) answer->fail("no thread has room on its stack for it");
    if (answer != nullptr && has_room)
      begin(*answer, at_work).number("blocks", check.blocks).number("errors", check.errors);
  } else if (is_at_work()) {
    const journal::Checkpoint checkpoint = journal::step_checkpoint();
    if (checkpoint.state == journal::Checkpoint::State::going) return Done::later;
    if (answer != nullptr) answer_checkpoint(*answer, checkpoint);
  }
  forget_work();
  return Done::now;
}

bool is_at_work() noexcept { return at_work != Verb{}; }
void forget_work() noexcept { at_work = Verb{}; }

}  // namespace poireau::control
