#include "tracked_alloc/remap_tidy.h"

#include <algorithm>

#include "preload/base/undisturbed.h"
#include "tracked_alloc/pages.h"
#include "tracked_alloc/remap_arena.h"
#include "tracked_alloc/remap_engine.h"
#include "tracked_alloc/remap_stripes.h"

namespace poireau::tracked_alloc::remap {
namespace {

constinit std::atomic<uint64_t> moves{0};
constinit std::atomic<uint64_t> moved_then{0};  // when idle runs were last looked for

constexpr uint64_t kMib = 1 << 20;

uint64_t load(const std::atomic<uint64_t>& number) noexcept { return number.load(std::memory_order_relaxed); }
/// The difference of numbers that others change meanwhile.
uint64_t less(uint64_t whole, uint64_t part) noexcept { return whole - std::min(whole, part); }

}  // namespace

constinit std::atomic<bool> ready{false};

namespace tidy {

void after_move() noexcept {
  constexpr uint64_t kSeldom = 16;
  if (moves.fetch_add(1, std::memory_order_relaxed) % kSeldom != 0) return;
  const Undisturbed undisturbed(!arena::sealed());
  const uint64_t physical = load(slabs::physical), moved = load(runs::sums.moved_bytes);
  places::forget(std::max(physical / 16, kMib / 2));
  // What is given back and soon wanted again costs more than most else: a run has rested if nobody used it while twice
  // as much as there is has come and gone.
  if (!runs::much_is_idle() || less(moved, load(moved_then)) < 2 * physical) return;
  runs::trim_runs(runs::Trim::rested);
  moved_then.store(moved, std::memory_order_relaxed);
}

void place_nothing() noexcept { ready.store(false, std::memory_order_release); }

}  // namespace tidy

bool begin(const Settings& settings) noexcept {
  runs::tell_refused = settings.refused;
  if (begun() || arena::sealed() || !arena::begin(settings.arena, settings.dump)) return begun();
  places::begin(settings.addresses);
  engines::choose(settings.engine);
  ready.store(true, std::memory_order_release);
  return true;
}

Placed placed() noexcept {
  Placed sum{};
  for (const stripes::Stripe& stripe : stripes::all) {
    sum.blocks += load(stripe.placed);
    sum.bytes += load(stripe.asked);
  }
  return sum;
}

uint64_t open_dead_bytes() noexcept { return less(load(runs::sums.dead), load(runs::sums.single)); }
bool addresses_short() noexcept { return places::exhausted(); }
uint64_t live_bytes() noexcept { return runs::live_bytes(); }

Standing standing() noexcept {
  Standing out{};
  uint64_t dead = 0, dead_bytes = 0, single = 0, handed = 0;
  runs::for_each([&](runs::Run& run) {
    const uint64_t now = run.standing.load(std::memory_order_relaxed);
    const uint64_t capacity = runs::shape_of(run).capacity;
    if (runs::state_of(now) == runs::unopened) return;
    const uint64_t its_dead = less(run.blocks, runs::left_of(now));
    unsigned free = 0;
    for (const auto& word : run.free)
      free += static_cast<unsigned>(std::popcount(word.load(std::memory_order_relaxed)));
    handed += less(run.blocks, free);
    dead += its_dead;
    dead_bytes += its_dead * capacity;
    single += run.single.load(std::memory_order_relaxed);
    ++out.runs;
  });
  const stripes::Held held = stripes::held();
  out.live = less(handed, dead + held.blocks);
  out.live_bytes = less(load(runs::sums.handed), dead_bytes + held.bytes);
  out.placed = placed().blocks;
  out.open_dead = less(dead, single);
  out.open_dead_bytes = less(dead_bytes, load(runs::sums.single));
  out.closed_dead = single;
  out.moved = load(runs::sums.moved);
  out.closed = load(runs::sums.closed);
  out.recycled = load(runs::sums.recycled);
  out.frames = load(runs::sums.frames);
  out.mappings = arena::mappings();
  out.arena_bytes = load(slabs::physical);
  out.table_bytes = places::table_bytes() +
                    runs::end_of_runs() * (sizeof(runs::Run) + sizeof(runs::Frame) / kMostSlots) +
                    slabs::count.load(std::memory_order_relaxed) * sizeof(slabs::Slab);
  out.addresses = places::used_bytes();
  for (size_t i = 0; i < static_cast<size_t>(Refusal::kinds); ++i) out.refused[i] = load(runs::sums.refused[i]);
  return out;
}

void trim() noexcept {
  const Undisturbed undisturbed(!arena::sealed());
  runs::trim_runs(runs::Trim::idle);
}

void seal(bool wanted) noexcept {
  arena::seal(wanted);
  if (wanted) return;
  const Undisturbed undisturbed(true);
  runs::move_stuck();
}

}  // namespace poireau::tracked_alloc::remap
