#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstring>

#include "config/options.h"
#include "preload/audience.h"
#include "preload/base/sys.h"
#include "preload/bootstrap.h"
#include "preload/clock.h"
#include "preload/control.h"
#include "preload/depot.h"
#include "preload/faults.h"
#include "preload/governor.h"
#include "preload/journal.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/sampled_room.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "preload/trace.h"
#include "preload/voice.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/ration.h"
#include "tracked_alloc/tracked_alloc.h"

// What becomes of a request that was picked: its home, its release and resizes, and what is wrong with them.

namespace poireau::sampled {
namespace {

using report::Error;
using report::tell;
using tracked_alloc::Claim;
using tracked_alloc::Wanted;

constinit std::atomic<bool> homes_allowed{false};  // and not yet made ready
constinit std::atomic<bool> homes_closed{false};
constinit std::atomic<Operators> operators_are{Operators::theirs};

constexpr uint64_t kForever = 1 << 30;  // seconds

// What it takes to walk a stack.
constexpr size_t kStackForStacks = 6 << 10;

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

tracked_alloc::Policy policy() noexcept {
  const uint64_t guard = governor::guard();
  const uint64_t second = clock::ticks_per_second();
  return {
      .guard = guard == kGuardAll        ? tracked_alloc::ration::kAll
               : guard == kGuardGoverned ? tracked_alloc::ration::kGoverned
                                         : guard,
      .ticks_per_second = second,
      .quarantine = {value(options.quarantine_size), value(options.quarantine_slots),
                     std::min(value(options.quarantine_seconds), kForever) * second},
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

/// A claimed block's end.
void end(const Claim& claim, std::string_view function, const void* caller) noexcept {
  const tracked_alloc::Death death{clock::ticks(), thread_number(), stack_number(caller)};
  journal::died(claim, death, function);
  tracked_alloc::finish(claim, death, policy());
}

/// `before`: what could be used of the block that is resized; 0: none is.
Wanted wanted_of(const Request& request, const Verdict& verdict, size_t before) noexcept {
  return {request.size,
          request.alignment,
          static_cast<uint8_t>(request.kind),
          zeroes(request.kind),
          {verdict.period, (sampler.since() + Sampler::weight(request.size)) & tracked_alloc::Birth::kMostSince,
           sampler.picked_by_calls(), clock::ticks(), thread_number(), stack_number(request.caller)},
          room::of(request, before)};
}

static_assert(static_cast<int>(tracked_alloc::Drop::sealed) - 1 == POIREAU_DROP_SANDBOX &&
              static_cast<int>(tracked_alloc::Drop::size) - 1 == POIREAU_DROP_KIND);

void count_unplaced(const Request& request, int cause) noexcept {
  const size_t size_class = std::min<size_t>(std::bit_width(request.size), POIREAU_SIZE_CLASSES - 1);
  stats.unplaced[cause][size_class].fetch_add(1, std::memory_order_relaxed);
}

/// nullptr: there is none, which is counted.
void* find_home(const Request& request, const Wanted& wanted) noexcept {
  const tracked_alloc::Home home = tracked_alloc::allocate(wanted, policy());
  if (home.block != nullptr) {
    journal::born(home);
    return home.block;
  }
  count_unplaced(request, static_cast<int>(home.drop) - 1);
  return nullptr;
}

/// Whether a request can have a home at all; counted if not.
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

/// A pointer that is not the beginning of a live block, given to a function that needs one.
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

void say_guards_are_gone() noexcept {
  if (value(options.log) != LogLevel::off)
    voice::say((voice::line() << "guards lost: from here on no block is guarded").view());
}

/// Whether a block was given to a function that is not for it. Not when the C++ runtime itself asked malloc for it, as
/// it does when operator new has to call its handler; nor when we don't know who asked.
bool mismatch(const tracked_alloc::Block& block, Family function) noexcept {
  if (operators_are.load(std::memory_order_relaxed) != Operators::ours) return false;
  const Family family = family_of(static_cast<Kind>(block.kind));
  if (may_release(function, family)) return false;
  if (family != Family::c) return true;
  const std::span<const uintptr_t> stack = depot::frames_of(block.birth.stack);
  const link_map* const runtime = module_of(first_of("__cxa_throw")).map;
  return !stack.empty() && (runtime == nullptr || module_of(reinterpret_cast<const void*>(stack[0])).map != runtime);
}

/// Whether there may be a block of somebody else's. Where we can't know, there may.
bool is_memory(const void* ptr) noexcept {
  const auto word = reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(ptr) & -sizeof(uint64_t));
  return sandbox::state() != sandbox::State::open || sys::readable(word);
}

void complain_of_write(const tracked_alloc::Block& block, tracked_alloc::noise::Damage damage) noexcept {
  tell({.error = Error::write_after_free,
        .address = damage.first,
        .block = &block,
        .function = "quarantine",
        .found = {reinterpret_cast<const unsigned char*>(damage.first), damage.bytes}});
}

/// A block's error is told once, be it by `verify`, when it is freed, or at exit. True: it has one.
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

}  // namespace

void* place(const Request& request, const Verdict& verdict) noexcept {
  const Metered metered(verdict.since);
  if (!may_have_home(request)) return nullptr;
  void* const home = find_home(request, wanted_of(request, verdict, 0));
  if (home != nullptr) settle(request, verdict, true);
  return home;
}

void* move_in(const Request& request, const Verdict& verdict, void* ptr) noexcept {
  if (ptr == nullptr) return place(request, verdict);
  const Metered metered(verdict.since);
  // The size of what is there is only the next allocator's to know, if the whole family is his.
  if (request.size == 0 || map_of(next.malloc_usable_size) != map_of(next.realloc) || !may_have_home(request))
    return nullptr;
  const int error = errno;
  const size_t size = next.malloc_usable_size(ptr);
  if (size == 0) return nullptr;  // some don't know before their own constructor
  void* const home = find_home(request, wanted_of(request, verdict, size));
  if (home == nullptr) return nullptr;
  std::memcpy(home, ptr, std::min(size, request.size));
  real.free(ptr);
  settle(request, verdict, true);
  errno = error;
  return home;
}

bool release(void* ptr, Release with, size_t size, const void* caller) noexcept {
  if (bootstrap::contains(ptr)) {
    bootstrap::release(ptr);
    return true;
  }
  // Before anything is known there is nothing that could be passed on but nullptr.
  if (const Way way = get_ready(); way != Way::real) return way == Way::early;
  if (!tracked_alloc::owns(ptr)) return false;
  const Metered metered;
  const Operators operators = operators_are.load(std::memory_order_relaxed);
  if (is_operator(with) && operators == Operators::theirs) return false;  // they know what they got from malloc
  notice_fork();
  const Claim claim = tracked_alloc::claim(ptr);
  switch (claim.found) {
    case Claim::Found::strangers:
      if (is_memory(ptr)) return false;
      complain(Error::invalid_free, {.found = Claim::Found::nowhere}, ptr, name_of(with), caller);
      return true;
    case Claim::Found::block:
      break;
    case Claim::Found::watched:
      return true;  // lost, and nobody's fault
    default:
      complain(Error::invalid_free, claim, ptr, name_of(with), caller);
      return true;
  }
  if (mismatch(claim.block, family_of(with)))
    tell({.error = Error::wrong_function,
          .address = claim.block.address,
          .block = &claim.block,
          .function = name_of(with),
          .caller = caller});
  else if (size != kNoSize && (size < claim.block.size || size > claim.block.room))
    tell({.error = Error::wrong_size,
          .address = claim.block.address,
          .block = &claim.block,
          .function = name_of(with),
          .given_size = size,
          .caller = caller});
  check_slack(claim, name_of(with), caller);
  end(claim, name_of(with), caller);
  return true;
}

bool measure(const void* ptr, size_t& size) noexcept {
  size = 0;
  room::asked();
  if (bootstrap::contains(ptr)) {
    size = bootstrap::size_of(ptr);
    return true;
  }
  if (const Way way = get_ready(); way != Way::real) return way == Way::early;
  if (!tracked_alloc::owns(ptr)) return false;
  return tracked_alloc::measure(ptr, size);
}

Loan borrow(const Request& request, void* ptr) noexcept {
  using enum Loan::Way;
  const bool in_arena = bootstrap::contains(ptr);
  if (get_ready() == Way::early) return {done, early_resize(request, ptr)};
  if (in_arena) {
    void* const copy = real.malloc(bootstrap::size_of(ptr));
    if (copy == nullptr) return {done, nullptr};
    std::memcpy(copy, ptr, bootstrap::size_of(ptr));
    return {lent, copy, ptr};
  }
  if (!tracked_alloc::owns(ptr)) return {theirs, ptr};
  Metered metered;
  notice_fork();
  const Claim claim = tracked_alloc::claim(ptr);
  if (claim.found == Claim::Found::strangers) return {theirs, ptr};
  if (claim.found != Claim::Found::block) {
    if (claim.found != Claim::Found::watched)
      complain(Error::resize_of_freed, claim, ptr, name_of(request.kind), request.caller);
    return {done, real.malloc(request.size)};  // what was there is gone
  }
  if (mismatch(claim.block, taken_by(request.kind)))
    tell({.error = Error::wrong_function,
          .address = claim.block.address,
          .block = &claim.block,
          .function = name_of(request.kind),
          .caller = request.caller});
  check_slack(claim, name_of(request.kind), request.caller);

  // A resize is a request like any other: whether the block keeps a home is decided anew, by its new size.
  Verdict verdict{Way::real};
  const bool tested = charge(request.size);
  if (tested) {
    uncharge(request.size);
    metered.pause();
    verdict = judge(request);
    metered.go_on(verdict.since);
  }
  if (verdict.period != 0 && request.size != 0 && may_have_home(request)) {
    const Wanted wanted = wanted_of(request, verdict, claim.block.room);
    if (tracked_alloc::resize(claim, wanted)) {
      journal::resized(claim.id);
      settle(request, verdict, true);
      return {done, ptr};
    }
    if (void* const home = find_home(request, wanted); home != nullptr) {
      std::memcpy(home, ptr, std::min(claim.block.room, request.size));
      end(claim, name_of(request.kind), request.caller);
      settle(request, verdict, true);
      return {done, home};
    }
  }
  const size_t kept = std::min(claim.block.room, request.size);
  // What nobody can have is to be refused by the function that was called, in its own way.
  constexpr size_t kAbsurd = size_t{1} << 47;
  const size_t lent_size = room::matters(claim.block.room, request.size) ? claim.block.room : request.size;
  void* const copy = real.malloc(std::max<size_t>(request.size < kAbsurd ? lent_size : kept, 1));
  if (copy == nullptr) {
    tracked_alloc::put_back(claim);
    if (tested) settle(request, verdict, false);
    return {done, nullptr};
  }
  std::memcpy(copy, ptr, kept);
  // Some resizes zero what is new, and take for old all that the block could hold.
  if (zeroes(request.kind)) {
    const size_t room = next.malloc_usable_size(copy);
    if (room > kept) std::memset(static_cast<char*>(copy) + kept, 0, room - kept);
  }
  verdict.way = tested ? Way::real : Way::pass;
  return {lent, copy, ptr, claim.id.packed(), verdict};
}

void repay(const Request& request, const Loan& loan, bool granted) noexcept {
  const Metered metered;
  const int error = errno;
  const bool gone = granted || request.size == 0;  // nullptr is what it is then
  if (loan.verdict.way == Way::real) settle(request, loan.verdict, granted);
  if (!gone) real.free(loan.ptr);
  if (loan.home == 0) {
    if (gone) bootstrap::release(loan.origin);
  } else {
    const auto id = tracked_alloc::region::Id::unpack(loan.home);
    const Claim claim{Claim::Found::block, id, describe(record_of(id))};
    if (gone)
      end(claim, name_of(request.kind), request.caller);
    else
      tracked_alloc::put_back(claim);
  }
  errno = error;
}

void allow_homes() noexcept {
  if (!dormant() && sandbox::state() <= sandbox::State::inherited) homes_allowed.store(true, std::memory_order_release);
}

void close_homes() noexcept { homes_closed.store(true, std::memory_order_relaxed); }

void forget_modules() noexcept { journal::forget_modules(); }

void set_operators(Operators whose) noexcept { operators_are.store(whose, std::memory_order_relaxed); }

void prepare_homes() noexcept {
  if (tracked_alloc::begun() || !homes_allowed.exchange(false, std::memory_order_acquire)) return;
  stack::begin();
  // A program that has its every block from us may first ask the real allocator in a sandbox, when it's too late for
  // the calls that allocators make but once.
  real.free(real.malloc(1));
  tracked_alloc::begin({
      .placement = static_cast<tracked_alloc::Placement>(value(options.placement)),
      .mechanism = static_cast<tracked_alloc::pages::Mechanism>(value(options.guard_mechanism)),
      .open = sandbox::state() == sandbox::State::open,
      .dump = value(options.core) == Core::include,
      .keep = value(options.keep),
      .seed = process::next_seed(),
      .guards_gone = say_guards_are_gone,
      .before_guards = faults::be_armed,
      .found_writes = complain_of_write,
  });
}

void prepare_for_sandbox() noexcept {
  notice_fork();
  prepare_homes();
  trace::prepare_for_sandbox();
  control::prepare_for_sandbox();
}

void check_all() noexcept {
  tracked_alloc::for_each_live([](const Claim& claim) { check_slack(claim, "exit", nullptr); });
  tracked_alloc::look_for_writes();
}

bool check_some(Check& check) noexcept {
  return tracked_alloc::for_some_live(check.at, 256, [&check](const Claim& claim) {
    ++check.blocks;
    if (check_slack(claim, "verify", nullptr)) ++check.errors;
  });
}

}  // namespace poireau::sampled
