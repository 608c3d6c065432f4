#include "preload/control_sweep.h"

#include "config/options.h"
#include "preload/clock.h"
#include "preload/fork_copy.h"
#include "preload/sweep.h"
#include "preload/sweep_holders.h"

namespace poireau::control {
namespace {

using sweep::Holder;

constexpr std::string_view kWhere = "stack, data, heap, home, kernel";

void add_holder(Answer& answer, const Holder& holder) noexcept {
  answer.begin({}, '{')
      .number("at", holder.at)
      .text("in", config::choice_name(kWhere, static_cast<int>(holder.where)))
      .number("value", holder.word)
      .number("begin", holder.begin)
      .text("mapping", holder.name);
  if (holder.thread != 0) answer.number("thread", static_cast<uint64_t>(holder.thread));
  answer.end();
}

}  // namespace

void add_sweeps(Answer& answer) noexcept {
  const sweep::Totals totals = sweep::totals();
  answer.number("sweeps", totals.sweeps)
      .number("given_up", totals.given_up)
      .number("bytes", totals.bytes)
      .number("freed", totals.freed)
      .number("freed_bytes", totals.freed_bytes)
      .number("kept", totals.kept)
      .number("kept_bytes", totals.kept_bytes)
      .number("milliseconds", totals.ticks / (clock::ticks_per_second() / 1000))
      .number("torn_forks", fork_copy::torn());
}

void sweep_now(Answer& answer) noexcept {
  if (options.sweep.load(std::memory_order_relaxed) == Sweep::off) return answer.fail("sweep = off");
  const sweep::Outcome outcome = sweep::run();
  if (outcome != sweep::Outcome::done) return answer.fail(sweep::text_of(outcome));
  add_sweeps(answer.start().truth("ok", true).text("do", "sweep"));
}

void tell_holders(Answer& answer) noexcept {
  const sweep::Held held = sweep::find_holders();
  if (held.outcome != sweep::Outcome::done) return answer.fail(sweep::text_of(held.outcome));
  answer.start().truth("ok", true).text("do", "holders").begin("blocks", '[');
  const Holder* holder = held.holders.data();
  const Holder* const end = holder + held.holders.size();
  for (uint32_t i = 0; i < held.blocks.size(); ++i) {
    const auto& block = held.blocks[i];
    answer.begin({}, '{')
        .number("address", block.address)
        .number("size", block.size)
        .number("born", block.born)
        .number("died", block.died)
        .begin("holders", '[');
    for (; holder != end && holder->block == i; ++holder) add_holder(answer, *holder);
    answer.end().end();
  }
  answer.end().number("truncated", held.left_out);
}

}  // namespace poireau::control
