#include "preload/sampled_blocks.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/governor.h"
#include "preload/journal.h"
#include "preload/module.h"
#include "preload/protect.h"
#include "preload/real.h"
#include "preload/sampled_remapped.h"
#include "preload/sampled_room.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "tracked_alloc/ration.h"

namespace poireau::sampled {
namespace {

using report::Error;
using report::tell;
using tracked_alloc::Claim;
using tracked_alloc::Wanted;

constexpr uint64_t kForever = 1 << 30;  // seconds

// What it takes to walk a stack.
constexpr size_t kStackForStacks = 6 << 10;

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

/// Where all blocks are protected, what is freed stays closed as long as there are addresses.
tracked_alloc::quarantine::Limits limits(uint64_t second) noexcept {
  if (protect::protects_all()) return {SIZE_MAX, SIZE_MAX, 0};
  return {value(options.quarantine_size), value(options.quarantine_slots),
          std::min(value(options.quarantine_seconds), kForever) * second};
}

static_assert(static_cast<int>(tracked_alloc::Drop::sealed) - 1 == POIREAU_DROP_SANDBOX &&
              static_cast<int>(tracked_alloc::Drop::size) - 1 == POIREAU_DROP_KIND);

void count_unplaced(const Request& request, int cause) noexcept {
  const size_t size_class = std::min<size_t>(std::bit_width(request.size), POIREAU_SIZE_CLASSES - 1);
  stats.unplaced[cause][size_class].fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

constinit std::atomic<bool> homes_closed{false};
constinit std::atomic<Operators> operators_are{Operators::theirs};

tracked_alloc::Policy policy(bool protect) noexcept {
  const uint64_t guard = protect ? kGuardAll : governor::guard();
  const uint64_t second = clock::ticks_per_second();
  return {
      .guard = guard == kGuardAll        ? tracked_alloc::ration::kAll
               : guard == kGuardGoverned ? tracked_alloc::ration::kGoverned
                                         : guard,
      .ticks_per_second = second,
      .quarantine = limits(second),
      .cache = value(options.cache),
      .poison = value(options.poison),
      .guard_share = governor::guard_share(),
  };
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wframe-larger-than="
[[gnu::noinline]] uint32_t stack_number(const void* caller) noexcept {
  if (!room_on_stack(kStackForStacks)) return 0;
  uintptr_t frames[stack::kMostFrames];
  bool truncated = false;
  const size_t count = stack::capture(frames, caller, &truncated);
  return depot::intern({frames, count}, truncated);
}
#pragma GCC diagnostic pop

void end(const Claim& claim, std::string_view function, const void* caller) noexcept {
  const tracked_alloc::Death death{clock::ticks(), thread_number(), stack_number(caller)};
  if (is_sampled(claim.block.birth)) journal::died(claim, death, function);
  tracked_alloc::finish(claim, death, policy(false));
}

Wanted wanted_of(const Request& request, const Verdict& verdict, size_t before) noexcept {
  return {request.size,
          request.alignment,
          static_cast<uint8_t>(request.kind),
          zeroes(request.kind),
          {verdict.period, (sampler.since() + Sampler::weight(request.size)) & tracked_alloc::Birth::kMostSince,
           sampler.picked_by_calls(), clock::ticks(), thread_number(), stack_number(request.caller)},
          room::of(request, before)};
}

void* find_home(const Request& request, const Wanted& wanted) noexcept {
  if (void* const block = remapped::place(request, wanted); block != nullptr) return block;
  const bool large = remapped::wanted() && request.size > tracked_alloc::remap::kMost;
  const tracked_alloc::Home home = tracked_alloc::allocate(wanted, policy(large || protect::wants(request)));
  if (home.block != nullptr) {
    journal::born(home);
    return home.block;
  }
  count_unplaced(request, static_cast<int>(home.drop) - 1);
  return nullptr;
}

void* find_guarded_home(const Request& request) noexcept {
  if (tracked_alloc::mechanism() == tracked_alloc::pages::Mechanism::none) return nullptr;
  const tracked_alloc::Home home = tracked_alloc::allocate(wanted_of(request, {Way::real}, 0), policy(true));
  if (home.block != nullptr) journal::hidden(home);
  return home.block;
}

bool may_have_home(const Request& request) noexcept {
  if (!placeable(request.kind)) {
    count_unplaced(request, POIREAU_DROP_KIND);
    return false;
  }
  if (homes_closed.load(std::memory_order_relaxed)) {
    count_unplaced(request, POIREAU_DROP_OTHERS);
    return false;
  }
  if (!tracked_alloc::begun()) [[unlikely]]
    prepare_homes();
  if (tracked_alloc::begun()) return true;
  count_unplaced(request, POIREAU_DROP_SANDBOX);
  return false;
}

void complain(Error resize_or_free, const Claim& claim, const void* ptr, std::string_view function,
              const void* caller) noexcept {
  const bool at_begin = claim.offset == 0;
  const bool known = claim.found != Claim::Found::nowhere;
  const bool freed = claim.found == Claim::Found::freed || claim.found == Claim::Found::busy;
  Error error = Error::invalid_free;
  if (freed && at_begin) error = resize_or_free == Error::resize_of_freed ? resize_or_free : Error::double_free;
  tell({.error = error,
        .address = reinterpret_cast<uintptr_t>(ptr),
        .block = known ? &claim.block : nullptr,
        .function = function,
        .caller = caller});
}

/// Not when the C++ runtime itself asked malloc for it, as it does when operator new has to call its handler; nor when
/// we don't know who asked.
bool mismatch(const tracked_alloc::Block& block, Family function) noexcept {
  if (operators() != Operators::ours) return false;
  const Family family = family_of(static_cast<Kind>(block.kind));
  if (may_release(function, family)) return false;
  if (family != Family::c) return true;
  const std::span<const uintptr_t> stack = depot::frames_of(block.birth.stack);
  const link_map* const runtime = module_of(first_of("__cxa_throw")).map;
  return !stack.empty() && (runtime == nullptr || module_of(reinterpret_cast<const void*>(stack[0])).map != runtime);
}

bool is_memory(const void* ptr) noexcept {
  const auto word = reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(ptr) & -sizeof(uint64_t));
  return sandbox::state() != sandbox::State::open || sys::readable(word);
}

void check_release(const tracked_alloc::Block& block, Release with, size_t size, const void* caller) noexcept {
  if (mismatch(block, family_of(with)))
    tell({.error = Error::wrong_function,
          .address = block.address,
          .block = &block,
          .function = name_of(with),
          .caller = caller});
  else if (size != kNoSize && (size < block.size || size > block.room))
    tell({.error = Error::wrong_size,
          .address = block.address,
          .block = &block,
          .function = name_of(with),
          .given_size = size,
          .caller = caller});
}

void check_resize(const tracked_alloc::Block& block, const Request& request) noexcept {
  if (!mismatch(block, taken_by(request.kind))) return;
  tell({.error = Error::wrong_function,
        .address = block.address,
        .block = &block,
        .function = name_of(request.kind),
        .caller = request.caller});
}

bool check_slack(const Claim& claim, std::string_view function, const void* caller) noexcept {
  const tracked_alloc::Slack slack = tracked_alloc::inspect(claim);
  for (const tracked_alloc::noise::Damage& damage : {slack.before, slack.behind})
    if (damage.first != 0 && !slack.known)
      tell({.error = Error::short_overflow,
            .address = damage.first,
            .block = &claim.block,
            .function = function,
            .found = {reinterpret_cast<const unsigned char*>(damage.first), damage.bytes},
            .caller = caller});
  return slack.before.first != 0 || slack.behind.first != 0;
}

Verdict judge_resize(const Request& request, bool& tested) noexcept {
  tested = charge(request.size);
  if (!tested) return {Way::real};
  uncharge(request.size);
  return judge(request);
}

void* lent_copy(const Request& request, const void* ptr, size_t room) noexcept {
  // What nobody can have is to be refused by the function that was called, in its own way.
  constexpr size_t kAbsurd = size_t{1} << 47;
  const size_t kept = std::min(room, request.size);
  const size_t lent_size = room::matters(room, request.size) ? room : request.size;
  void* const copy = unprotected().malloc(std::max<size_t>(request.size < kAbsurd ? lent_size : kept, 1));
  if (copy == nullptr) return nullptr;
  std::memcpy(copy, ptr, kept);
  // Some resizes zero what is new, and take for old all that the block could hold.
  if (zeroes(request.kind)) {
    const size_t usable = next.malloc_usable_size(copy);
    if (usable > kept) std::memset(static_cast<char*>(copy) + kept, 0, usable - kept);
  }
  return copy;
}

void close_homes() noexcept { homes_closed.store(true, std::memory_order_relaxed); }

void set_operators(Operators whose) noexcept { operators_are.store(whose, std::memory_order_relaxed); }

}  // namespace poireau::sampled
