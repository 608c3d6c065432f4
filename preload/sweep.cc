#include "preload/sweep.h"

#include <algorithm>
#include <atomic>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/sweep_memory.h"
#include "preload/thread.h"
#include "tracked_alloc/marks.h"
#include "tracked_alloc/remap.h"

namespace poireau::sweep {
namespace {

using tracked_alloc::marks::Limits;
namespace marks = tracked_alloc::marks;
namespace remap = tracked_alloc::remap;

constexpr uint64_t kFloor = 2 << 20;     // bytes of dead blocks that no sweep is worth
constexpr uint64_t kRest = 8;            // times as much CPU time as the last sweep took goes to others before the next
constexpr uint64_t kLongest = 100;       // milliseconds; meanwhile nobody else tries
constexpr uint64_t kMostPause = 10'000;  // milliseconds between one that was of no use and the next
constexpr size_t kStack = 6 << 10;       // that it takes

constinit std::atomic<uint64_t> next{0};      // in ticks; sooner none is due
constinit std::atomic<uint64_t> next_use{0};  // and not before the process has used so many nanoseconds
constinit std::atomic<uint64_t> pause{1};     // milliseconds
constinit std::atomic<uint64_t> sweeps{0}, given_up{0}, swept{0}, freed{0}, freed_bytes{0}, kept{0}, kept_bytes{0},
    spent{0};

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

void add(std::atomic<uint64_t>& counter, uint64_t amount) noexcept {
  counter.fetch_add(amount, std::memory_order_relaxed);
}

/// What may still be given back in this second.
constinit std::atomic<uint64_t> allowance{0}, allowed_since{0};
uint64_t allowed(uint64_t now) noexcept {
  const uint64_t rate = value(options.release_rate);
  if (rate == 0) return UINT64_MAX;
  const uint64_t second = clock::ticks_per_second(), passed = std::min(now - value(allowed_since), second);
  const auto more = static_cast<uint64_t>(static_cast<unsigned __int128>(rate) * passed / second);
  return std::min(value(allowance) + more, rate);
}

void draw(uint64_t before, uint64_t used, uint64_t now) noexcept {
  allowance = before - std::min(before, used);
  allowed_since = now;
}

uint64_t millisecond() noexcept { return clock::ticks_per_second() / 1000; }

/// `use`: what the process had used when it began. `of_use`: a good part of what is dead could be used again.
void rest(uint64_t use, bool of_use) noexcept {
  const uint64_t wait = of_use ? 1 : std::min(value(pause) * 2, kMostPause), used = sys::cpu_time();
  pause = wait;
  next_use = used + kRest * (used - use);
  next = clock::ticks() + (of_use ? 0 : wait * millisecond());
}

/// Whether enough else has been done. Asked again when that may be.
bool rested(uint64_t now) noexcept {
  const uint64_t used = sys::cpu_time(), wanted = value(next_use);
  if (used >= wanted) return true;
  constexpr uint64_t kProcessors = 4;  // or so
  next = now + std::max<uint64_t>((wanted - used) / kProcessors / 1'000'000, 1) * millisecond();
  return false;
}

void look_through(void*, const Area&, uintptr_t, std::span<const std::byte> bytes) noexcept {
  marks::see_all(bytes);
  add(swept, bytes.size());
}

/// The registers that a call preserves lie on this function's stack.
[[gnu::noinline]] Outcome sweep_standing(const Limits& limits, uint64_t& used, uint64_t& addresses) noexcept {
  __builtin_unwind_init();
  if (!marks::begin()) return Outcome::busy;
  if (!show_memory(look_through, nullptr)) {
    marks::abandon();
    return Outcome::forbidden;
  }
  add(swept, marks::see_live_blocks());
  const marks::Outcome outcome = marks::end(limits);
  add(sweeps, 1);
  add(freed, outcome.freed);
  add(freed_bytes, outcome.freed_bytes);
  add(kept, outcome.kept);
  add(kept_bytes, outcome.kept_bytes);
  used = outcome.freed_bytes;
  addresses = outcome.addresses;
  return Outcome::done;
}

}  // namespace

bool due() noexcept {
  const uint64_t dead = remap::open_dead_bytes();
  const bool no_addresses = remap::addresses_short();
  if (dead < kFloor && !no_addresses) [[likely]]
    return false;
  if (value(options.sweep) != Sweep::in_line) return false;
  const uint64_t share = value(options.quarantine_share);
  const bool much = share != 0 && dead >= kFloor + remap::live_bytes() * share / 1'000'000;
  if ((!much && !no_addresses) || sandbox::state() != sandbox::State::open) return false;
  const uint64_t now = clock::ticks();
  return now >= value(next) && rested(now) && allowed(now) != 0;
}

std::string_view text_of(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::done:
      return "done";
    case Outcome::busy:
      return "somebody else is at it; ask again";
    case Outcome::moving:
      return "a thread did not stand still; ask again";
    case Outcome::forbidden:
      return "the memory of the process can't be looked through here";
    case Outcome::nothing:
      return "no block is remapped";
  }
  return {};
}

Outcome run() noexcept {
  if (!remap::begun()) return Outcome::nothing;
  if (sandbox::state() != sandbox::State::open) return Outcome::forbidden;
  if (!room_on_stack(kStack)) return Outcome::busy;
  const uint64_t began = clock::ticks(), most = allowed(began), dead = remap::open_dead_bytes();
  const uint64_t size = value(options.sweep_size);
  uint64_t used = 0, addresses = 0, use = sys::cpu_time();
  Outcome outcome;
  next = began + kLongest * millisecond();
  {
    const stop::Others others;
    if (others) use = sys::cpu_time();
    outcome = others ? sweep_standing({.bytes = std::min(most, size == 0 ? UINT64_MAX : size)}, used, addresses)
                     : without_others(others.why());
  }
  if (outcome == Outcome::busy) return outcome;
  if (outcome == Outcome::moving) add(given_up, 1);
  if (outcome == Outcome::done && value(options.release_rate) != 0) draw(most, used, began);
  rest(use, outcome == Outcome::done && (used >= dead / 4 || addresses != 0));
  add(spent, clock::ticks() - began);
  return outcome;
}

Totals totals() noexcept {
  return {value(sweeps),      value(given_up), value(swept),      value(freed),
          value(freed_bytes), value(kept),     value(kept_bytes), value(spent)};
}

void forked() noexcept {
  for (auto* counter : {&sweeps, &given_up, &swept, &freed, &freed_bytes, &kept, &kept_bytes, &spent, &next, &next_use})
    counter->store(0, std::memory_order_relaxed);
  pause = 1;
}

}  // namespace poireau::sweep
