#include "preload/protection.h"

#include <algorithm>
#include <iterator>

#include "preload/protect.h"
#include "preload/stats.h"
#include "preload/sweep.h"
#include "preload/voice.h"
#include "tracked_alloc/remap.h"

namespace poireau {

namespace remap = tracked_alloc::remap;

void gather(poireau_protection& out) noexcept {
  out = {};
  if (!protect::armed()) return;
  const protect::Totals total = protect::totals();
  out.allocations = total.allocations;
  out.allocated_bytes = total.allocated_bytes;
  out.reallocations = total.reallocations;
  out.deallocations = total.deallocations;
  out.of_2_mib = total.of_2_mib;
  out.of_1_gib = total.of_1_gib;
  out.guarded = total.guarded;
  out.unprotected = total.unprotected;
  const remap::Standing now = remap::standing();
  out.live = now.live;
  out.live_bytes = now.live_bytes;
  out.placed = now.placed;
  out.open_dead = now.open_dead;
  out.open_dead_bytes = now.open_dead_bytes;
  out.closed_dead = now.closed_dead;
  out.closed_with_run = now.moved;
  out.closed_alone = now.closed;
  out.recycled = now.recycled;
  out.runs = now.runs;
  out.frames = now.frames;
  out.mappings = now.mappings;
  out.arena_bytes = now.arena_bytes;
  out.table_bytes = now.table_bytes;
  out.addresses = now.addresses;
  static_assert(std::size(now.refused) == POIREAU_REFUSALS);
  std::copy(std::begin(now.refused), std::end(now.refused), out.refused);
  const sweep::Totals swept = sweep::totals();
  out.sweeps = swept.sweeps;
  out.sweeps_given_up = swept.given_up;
  out.swept_bytes = swept.bytes;
  out.freed = swept.freed;
  out.freed_bytes = swept.freed_bytes;
  out.kept = swept.kept;
  out.kept_bytes = swept.kept_bytes;
  out.sweep_cycles = swept.ticks;
}

namespace {

[[gnu::noinline]] void say_requests(const poireau_protection& said) noexcept {
  Text text = voice::line();
  text << "protected " << said.allocations << " allocations (";
  text.bytes(said.allocated_bytes) << "), of them " << said.guarded << " in guarded homes, " << said.of_2_mib
                                   << " of 2MiB and more, " << said.of_1_gib << " of 1GiB and more; "
                                   << said.reallocations << " reallocations, " << said.deallocations
                                   << " deallocations, " << said.unprotected << " unprotected";
  voice::say(text.view());
}

[[gnu::noinline]] void say_aliases(const poireau_protection& said) noexcept {
  Text text = voice::line();
  text << "aliases: " << said.live << " live, " << said.open_dead << " dead and readable, " << said.closed_dead
       << " dead and closed; " << said.closed_with_run << " closed with their run, " << said.closed_alone << " alone, "
       << said.recycled << " recycled; " << said.runs << " runs, " << said.mappings << " mappings, ";
  text.bytes(said.arena_bytes) << " of blocks, ";
  text.bytes(said.table_bytes) << " of tables, ";
  text.bytes(said.addresses) << " of addresses used";
  voice::say(text.view());
}

[[gnu::noinline]] void say_sweeps(const poireau_protection& said) noexcept {
  Text text = voice::line();
  text << "sweeps: " << said.sweeps << " of ";
  text.bytes(said.swept_bytes) << ", " << said.sweeps_given_up << " given up, " << said.freed << " blocks freed, "
                               << said.kept << " kept; given to system calls: pointers at the stack "
                               << stats.pointers[POIREAU_POINTER_STACK].load() << ", data "
                               << stats.pointers[POIREAU_POINTER_DATA].load() << ", heap "
                               << stats.pointers[POIREAU_POINTER_HEAP].load() << ", homes "
                               << stats.pointers[POIREAU_POINTER_HOME].load();
  voice::say(text.view());
}

}  // namespace

void say_protection() noexcept {
  if (!protect::armed()) return;
  poireau_protection said;
  gather(said);
  say_requests(said);
  say_aliases(said);
  say_sweeps(said);
}

}  // namespace poireau
