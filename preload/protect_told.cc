#include <algorithm>

#include "preload/clock.h"
#include "preload/protect_parts.h"
#include "preload/report.h"
#include "preload/sampled_blocks.h"

/// What is told of protected blocks, and counted.
namespace poireau::protect {
namespace {

using remap::Death;
using report::Error;
using report::tell;
using tracked_alloc::Block;
using tracked_alloc::Claim;

constinit remap::Placed placed_before{};  // by whom it was forked from
constinit uint64_t released_before = 0;

/// Nobody counts blocks of homes that are freed, to make that fast.
uint64_t released() noexcept {
  const remap::Standing now = remap::standing();
  return now.placed - std::min(now.placed, now.live);
}

Claim::Found found_of(Death::Found found, const remap::Block& block) noexcept {
  switch (found) {
    case Death::Found::done:
      return Claim::Found::block;
    case Death::Found::freed:
      return Claim::Found::freed;
    case Death::Found::inside:
      return block.live ? Claim::Found::inside : Claim::Found::freed;
    case Death::Found::nowhere:
      break;
  }
  return Claim::Found::nowhere;
}

}  // namespace

Claim claim_of(Claim::Found found, const remap::Block& block, const void* ptr) noexcept {
  const auto offset = static_cast<ptrdiff_t>(reinterpret_cast<uintptr_t>(ptr) - block.address);
  return {found, {}, describe(block), offset};
}

Claim claim_of(const Death& death, const void* ptr) noexcept {
  return claim_of(found_of(death.found, death.block), death.block, ptr);
}

void tell_damage(const Block& block, const tracked_alloc::noise::Damage& damage, const unsigned char* bytes,
                 std::string_view function, const void* caller) noexcept {
  tell({.error = Error::short_overflow,
        .address = damage.first,
        .block = &block,
        .function = function,
        .found = {bytes, damage.bytes},
        .caller = caller});
}

bool check_some(size_t n, sampled::Check& check) noexcept {
  static constinit std::atomic<bool> at_work{false};
  [[gnu::section(".lbss")]] static constinit remap::Batch batch{};
  if (!armed() || !remap::begun() || at_work.exchange(true, std::memory_order_acquire)) return false;
  const bool there = remap::live_in_run(n, batch);
  for (unsigned i = 0; there && i < batch.count; ++i) {
    const remap::Block& block = batch.blocks[i];
    const tracked_alloc::noise::Damage damage = remap::inspect(block);
    ++check.blocks;
    if (damage.first == 0) continue;
    ++check.errors;
    tell_damage(describe(block), damage, reinterpret_cast<const unsigned char*>(damage.first), check.found_by, nullptr);
  }
  at_work.store(false, std::memory_order_release);
  return there;
}

void check_all() noexcept {
  if (!armed()) return;
  sampled::Check check{.found_by = "exit"};
  const uint64_t end = clock::ticks() + clock::ticks_per_second() / 10;
  for (size_t n = 0; check_some(n, check) && clock::ticks() < end;) ++n;
}

void refill(uint64_t now) noexcept {
  stacks.refill(now);
  closings.refill(now);
}

void forked() noexcept {
  if (!armed()) return;
  for (Counters& each : counters)
    for (auto* counter :
         {&each.resized, &each.of_2_mib, &each.of_1_gib, &each.guarded, &each.guarded_bytes, &each.unprotected})
      counter->store(0, std::memory_order_relaxed);
  placed_before = remap::placed();
  released_before = released();
  stacks.begin();
  closings.begin();
}

Totals totals() noexcept {
  const remap::Placed placed = remap::placed();
  Totals sum{};
  sum.allocations = placed.blocks - placed_before.blocks;
  sum.allocated_bytes = placed.bytes - placed_before.bytes;
  const uint64_t released_ever = released();
  sum.deallocations = released_ever - std::min(released_ever, released_before);
  for (const Counters& each : counters) {
    sum.allocations += each.guarded.load(std::memory_order_relaxed);
    sum.allocated_bytes += each.guarded_bytes.load(std::memory_order_relaxed);
    sum.reallocations += each.resized.load(std::memory_order_relaxed);
    sum.of_2_mib += each.of_2_mib.load(std::memory_order_relaxed);
    sum.of_1_gib += each.of_1_gib.load(std::memory_order_relaxed);
    sum.guarded += each.guarded.load(std::memory_order_relaxed);
    sum.unprotected += each.unprotected.load(std::memory_order_relaxed);
  }
  return sum;
}

Block describe(const remap::Block& block) noexcept {
  Block out = tracked_alloc::describe(block);
  notes::look_up(out);
  return out;
}

}  // namespace poireau::protect
