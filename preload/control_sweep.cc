#include "preload/control_sweep.h"

#include <algorithm>

#include "config/options.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/fork_copy.h"
#include "preload/kinds.h"
#include "preload/notes.h"
#include "preload/protect.h"
#include "preload/sweep.h"
#include "preload/sweep_holders.h"

namespace poireau::control {
namespace {

using sweep::Holder;

constexpr size_t kMostBlocks = 256, kMostOfBlock = 8;

void add_block(Answer& answer, const tracked_alloc::Block& block) noexcept {
  const bool known = notes::stack_of(block.born) != 0;
  answer.number("address", block.address).number("size", block.size);
  if (known) answer.text("kind", name_of(static_cast<Kind>(block.kind)));
  answer.begin("freed", '[');
  for (const uintptr_t frame : depot::frames_of(block.death.stack)) answer.number({}, frame);
  answer.end();
}

void add_holders(Answer& answer, std::span<const Holder> holders) noexcept {
  answer.number("count", holders.size()).begin("holders", '[');
  for (const Holder& holder : holders.first(std::min(holders.size(), kMostOfBlock)))
    answer.begin({}, '[').number({}, holder.at).number({}, holder.word).end();
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
  answer.start().truth("ok", true).text("do", "holders").number("swept_bytes", held.bytes).begin("blocks", '[');
  const size_t shown = std::min(held.groups.size(), kMostBlocks);
  for (const sweep::Group& group : held.groups.first(shown)) {
    const auto found = tracked_alloc::remap::find(held.holders[group.first].block);
    answer.begin({}, '{');
    add_block(answer, protect::describe(found.block));
    add_holders(answer, held.holders.subspan(group.first, group.count));
    answer.end();
  }
  answer.end().number("more", held.groups.size() - shown).number("left_out", held.left_out);
}

}  // namespace poireau::control
