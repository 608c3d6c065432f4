#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "config/options.h"
#include "preload/audience.h"
#include "preload/bootstrap.h"
#include "preload/control.h"
#include "preload/faults.h"
#include "preload/governor.h"
#include "preload/journal.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/protect.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/sampled_blocks.h"
#include "preload/sampled_room.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/trace.h"
#include "preload/voice.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/tracked_alloc.h"

// What becomes of a request that was picked: its home, its release and resizes, and what is wrong with them.

namespace poireau::sampled {
namespace {

using report::Error;
using report::tell;
using tracked_alloc::Claim;
using tracked_alloc::Wanted;

constinit std::atomic<bool> homes_allowed{false};  // and not yet made ready

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

void say_guards_are_gone() noexcept {
  if (value(options.log) != LogLevel::off)
    voice::say((voice::line() << "guards lost: from here on no block is guarded").view());
}

void complain_of_write(const tracked_alloc::Block& block, tracked_alloc::noise::Damage damage) noexcept {
  tell({.error = Error::write_after_free,
        .address = damage.first,
        .block = &block,
        .function = "quarantine",
        .found = {reinterpret_cast<const unsigned char*>(damage.first), damage.bytes}});
}

bool is_remapped(const void* ptr) noexcept { return tracked_alloc::remap::owns(reinterpret_cast<uintptr_t>(ptr)); }

/// A claimed block, resized where it is or in another home; nullptr: it is not to stay with us.
void* resize_ours(const Request& request, const Verdict& verdict, const Claim& claim) noexcept {
  const bool sample = verdict.period != 0, was_sample = is_sampled(claim.block.birth);
  if (request.size == 0 || !(sample ? may_have_home(request) : protect::wants(request))) return nullptr;
  void* const block = reinterpret_cast<void*>(claim.block.address);
  void* home = nullptr;
  if (sample || !was_sample) {
    const Wanted wanted = wanted_of(request, verdict, claim.block.room);
    if (tracked_alloc::resize(claim, wanted)) {
      if (was_sample) journal::resized(claim.id);
      if (sample && !was_sample) journal::born({block, tracked_alloc::Drop::none, claim.id});
      return block;
    }
    if (sample) home = find_home(request, wanted);
  }
  if (home == nullptr) home = protect::allocate(request);
  if (home == nullptr) return nullptr;
  std::memcpy(home, block, std::min(claim.block.room, request.size));
  end(claim, name_of(request.kind), request.caller);
  return home;
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
  unprotected().free(ptr);
  settle(request, verdict, true);
  errno = error;
  return home;
}

[[gnu::noinline]] static bool release_any(void* ptr, Release with, size_t size, const void* caller) noexcept {
  if (bootstrap::contains(ptr)) {
    bootstrap::release(ptr);
    return true;
  }
  // Before anything is known there is nothing that could be passed on but nullptr.
  if (const Way way = get_ready(); way != Way::real) return way == Way::early;
  if (!tracked_alloc::owns(ptr)) return false;
  if (is_operator(with) && operators() == Operators::theirs) return false;  // they know what they got from malloc
  notice_fork();
  if (is_remapped(ptr)) return protect::release(ptr, with, size, caller);
  const Metered metered;
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
  check_release(claim.block, with, size, caller);
  check_slack(claim, name_of(with), caller);
  end(claim, name_of(with), caller);
  return true;
}

bool release(void* ptr, Release with, size_t size, const void* caller) noexcept {
  if (is_remapped(ptr) && protect::armed() && !process::is_new_child() &&
      (!is_operator(with) || operators() != Operators::theirs))
    return protect::release(ptr, with, size, caller);
  return release_any(ptr, with, size, caller);
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
  return is_remapped(ptr) ? protect::measure(ptr, size) : tracked_alloc::measure(ptr, size);
}

Loan borrow(const Request& request, void* ptr) noexcept {
  using enum Loan::Way;
  const bool in_arena = bootstrap::contains(ptr);
  if (get_ready() == Way::early) return {done, early_resize(request, ptr)};
  if (in_arena) {
    void* const copy = unprotected().malloc(bootstrap::size_of(ptr));
    if (copy == nullptr) return {done, nullptr};
    std::memcpy(copy, ptr, bootstrap::size_of(ptr));
    return {lent, copy, ptr};
  }
  if (!tracked_alloc::owns(ptr)) return {theirs, ptr};
  notice_fork();
  if (is_remapped(ptr)) return protect::borrow(request, ptr);
  Metered metered;
  const Claim claim = tracked_alloc::claim(ptr);
  if (claim.found == Claim::Found::strangers) return {theirs, ptr};
  if (claim.found != Claim::Found::block) {
    if (claim.found != Claim::Found::watched)
      complain(Error::resize_of_freed, claim, ptr, name_of(request.kind), request.caller);
    return {done, real.malloc(request.size)};  // what was there is gone
  }
  check_resize(claim.block, request);
  check_slack(claim, name_of(request.kind), request.caller);

  bool tested = false;
  const uint64_t now = metered.pause();
  Verdict verdict = judge_resize(request, tested);
  metered.go_on(tested ? verdict.since : now);
  if (void* const resized = resize_ours(request, verdict, claim); resized != nullptr) {
    if (tested) settle(request, verdict, true);
    return {done, resized};
  }
  void* const copy = lent_copy(request, ptr, claim.block.room);
  if (copy == nullptr) {
    tracked_alloc::put_back(claim);
    if (tested) settle(request, verdict, false);
    return {done, nullptr};
  }
  verdict.way = tested ? Way::real : Way::pass;
  return {lent, copy, ptr, claim.id.packed(), verdict};
}

void repay(const Request& request, const Loan& loan, bool granted) noexcept {
  const Metered metered;
  const int error = errno;
  const bool gone = granted || request.size == 0;  // nullptr is what it is then
  if (loan.verdict.way == Way::real) settle(request, loan.verdict, granted);
  if (!gone) unprotected().free(loan.ptr);
  if (loan.home == 0) {
    if (gone && is_remapped(loan.origin))
      protect::leave(loan.origin, request);
    else if (gone)
      bootstrap::release(loan.origin);
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

void forget_modules() noexcept { journal::forget_modules(); }

void prepare_homes() noexcept {
  if (tracked_alloc::begun() || !homes_allowed.exchange(false, std::memory_order_acquire)) return;
  stack::begin();
  // A program that has its every block from us may first ask the real allocator in a sandbox, when it's too late for
  // the calls that allocators make but once.
  unprotected().free(unprotected().malloc(1));
  tracked_alloc::begin({
      .placement = static_cast<tracked_alloc::Placement>(value(options.placement)),
      .mechanism = static_cast<tracked_alloc::pages::Mechanism>(value(options.guard_mechanism)),
      .open = sandbox::state() == sandbox::State::open,
      .dump = value(options.core) != Core::exclude,
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
  protect::check_all();
}

bool check_some(Check& check) noexcept {
  if (!check.homes_done)
    check.homes_done = !tracked_alloc::for_some_live(check.at, 256, [&check](const Claim& claim) {
      ++check.blocks;
      if (check_slack(claim, "verify", nullptr)) ++check.errors;
    });
  else if (!protect::check_some(check.run++, check))
    return false;
  return true;
}

}  // namespace poireau::sampled
