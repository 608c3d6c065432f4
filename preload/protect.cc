#include "preload/protect.h"

#include <sys/auxv.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/faults.h"
#include "preload/module.h"
#include "preload/notes.h"
#include "preload/process.h"
#include "preload/protect_budget.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled_blocks.h"
#include "preload/sampled_remapped.h"
#include "preload/sampled_room.h"
#include "preload/sandbox.h"
#include "preload/stats.h"
#include "preload/stop.h"
#include "preload/sweep.h"
#include "preload/thread.h"
#include "preload/voice.h"
#include "tracked_alloc/records.h"
#include "tracked_alloc/remap.h"

namespace poireau::protect {
namespace {

namespace remap = tracked_alloc::remap;
using config::Protect;
using remap::Death;
using report::Error;
using report::tell;
using sampled::Loan;
using sampled::Request;
using sampled::Verdict;
using sampled::Way;
using tracked_alloc::Block;
using tracked_alloc::Claim;

constexpr size_t kAnyType = alignof(max_align_t);
constinit bool moves_in = false;  // the size of the real allocator's blocks is known

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

constexpr size_t kPage = tracked_alloc::region::kPage;

/// Counted by threads that don't meet.
struct alignas(64) Counters {
  std::atomic<uint64_t> resized, of_2_mib, of_1_gib, guarded, guarded_bytes, unprotected;
};
constexpr unsigned kStripes = 16;
[[gnu::section(".lbss")]] constinit Counters counters[kStripes]{};
constinit remap::Placed placed_before{};  // by whom it was forked from
constinit uint64_t released_before = 0;

[[gnu::always_inline]] inline unsigned stripe() noexcept {
  return static_cast<unsigned>(reinterpret_cast<uintptr_t>(__builtin_thread_pointer()) * 0x9e3779b97f4a7c15 >> 48);
}
void add(std::atomic<uint64_t> Counters::*counter, uint64_t amount = 1) noexcept {
  (counters[stripe() % kStripes].*counter).fetch_add(amount, std::memory_order_relaxed);
}
/// Nobody counts blocks of homes that are freed, to make that fast.
uint64_t released() noexcept {
  const remap::Standing now = remap::standing();
  return now.placed - std::min(now.placed, now.live);
}

/// What stacks and single closings may take: so much at first, so that short programs have all of them, then a share
/// of the CPU time.
constinit Budget stacks{5'000, 10'000}, closings{3'000, 20'000};

[[gnu::always_inline]] inline bool has_stacks() noexcept { return !stacks.spent() && value(options.stack_depth) != 0; }

/// A birth or a death, with its stack if that can be afforded.
notes::Note note_of(Kind kind, const void* caller) noexcept {
  if (!has_stacks()) return notes::of_caller(kind, caller);
  const Budget::Expense expense(stacks);
  const uint32_t stack = sampled::stack_number(caller);
  return stack != 0 ? notes::of_stack(kind, stack) : notes::of_caller(kind, caller);
}
notes::Note note_of_death(const void* caller) noexcept { return note_of(Kind{}, caller); }

constexpr std::string_view kReasons[] = {"of their size",
                                         "there is no more memory for them",
                                         "their addresses are used up",
                                         "the program needs the mappings that are left",
                                         "somebody else is at work on them",
                                         "a sandbox forbids system calls"};
static_assert(std::size(kReasons) == static_cast<size_t>(remap::Refusal::kinds));

/// The first time each.
void say_refused(remap::Refusal why) noexcept {
  if (value(options.log) == LogLevel::off || why == remap::Refusal::size || why == remap::Refusal::busy) return;
  Text text = voice::line();
  text << (protects_all() ? "some blocks are not protected: " : "some samples live in slots: ")
       << kReasons[static_cast<size_t>(why)];
  voice::say(text.view());
}

bool is_exhausted() noexcept {
  using enum remap::Refusal;
  const remap::Standing now = remap::standing();
  uint64_t refused = 0;
  for (const remap::Refusal why : {memory, addresses, mappings, sealed})
    refused += now.refused[static_cast<size_t>(why)];
  return refused != 0;
}

/// A block that was to be protected is not.
[[gnu::cold, gnu::noinline]] void* go_without(bool (*exhausted)()) noexcept {
  add(&Counters::unprotected);
  if (value(options.exhausted) != Exhausted::abort || !exhausted()) return nullptr;
  voice::say(
      (voice::line() << "no home for a block that is to be protected: aborting; exhausted = fallback would go on")
          .view());
  std::abort();
}

[[gnu::cold, gnu::noinline]] void* allocate_large(const Request& request) noexcept {
  constexpr size_t kMib = 1 << 20;
  void* const home = sampled::find_guarded_home(request);
  // What nobody can have is the real allocator's to refuse.
  if (home == nullptr) return request.size < SIZE_MAX / 2 ? go_without([] { return true; }) : nullptr;
  add(&Counters::guarded);
  add(&Counters::guarded_bytes, request.size);
  if (request.size >= 2 * kMib) add(&Counters::of_2_mib);
  if (request.size >= 1024 * kMib) add(&Counters::of_1_gib);
  return home;
}

remap::Closing closing(bool now) noexcept { return {now, value(options.zero)}; }

/// Whether freed blocks are left as they are for now.
[[gnu::always_inline]] inline bool leaves_open() noexcept {
  const Revoke revoke = value(options.revoke);
  return revoke != Revoke::immediate && (revoke != Revoke::governed || closings.spent()) && !value(options.zero);
}

/// Frees a live block, and closes it at once if that is wanted and can be afforded.
Death take(void* ptr, const void* caller) noexcept {
  const notes::Note note = note_of_death(caller);
  const Revoke revoke = value(options.revoke);
  if (revoke != Revoke::governed || closings.spent())
    return remap::release(ptr, note, closing(revoke == Revoke::immediate));
  const Budget::Expense expense(closings);
  return remap::release(ptr, note, closing(true));
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

/// In the words of other homes.
Claim claim_of(Claim::Found found, const remap::Block& block, const void* ptr) noexcept {
  const auto offset = static_cast<ptrdiff_t>(reinterpret_cast<uintptr_t>(ptr) - block.address);
  return {found, {}, describe(block), offset};
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

/// Whether there is more to be said of a release than that it happened.
[[gnu::always_inline]] inline bool is_unusual(notes::Note born, size_t size, Release with, size_t given_size) noexcept {
  return (given_size != kNoSize && given_size != size) ||
         !may_release(family_of(with), family_of(notes::kind_of(born))) || tracked_alloc::records::is_sample(born);
}

[[gnu::cold, gnu::noinline]] void tell_of(const remap::Block& freed, Release with, size_t size,
                                          const void* caller) noexcept {
  remap::Block before = freed;
  before.live = true;
  sampled::check_release(describe(before), with, size, caller);
  if (tracked_alloc::records::is_sample(freed.born)) sampled::remapped::end(freed, name_of(with), caller);
}

[[gnu::cold, gnu::noinline]] bool refuse(const Death& death, const void* ptr, Release with,
                                         const void* caller) noexcept {
  const bool strangers = death.found == Death::Found::nowhere &&
                         remap::find(reinterpret_cast<uintptr_t>(ptr)).found == remap::Answer::Found::nowhere;
  if (strangers && sampled::is_memory(ptr)) return false;
  sampled::complain(Error::invalid_free, claim_of(found_of(death.found, death.block), death.block, ptr), ptr,
                    name_of(with), caller);
  return true;
}

void sweep_if_due() noexcept {
  if (sweep::due()) [[unlikely]]
    sweep::run();
}

/// Whether it is time to look what is due: when one block of so many pages comes, or goes. Pages of addresses count
/// themselves, and who never frees is to be reached, too.
[[gnu::always_inline]] inline bool is_now_and_then(const void* block) noexcept {
  constexpr uint64_t kPages = 128;
  return reinterpret_cast<uintptr_t>(block) % (kPages * kPage) < kPage;
}
[[gnu::cold, gnu::noinline]] void do_what_is_due() noexcept {
  sampled::pass_by();
  sweep_if_due();
}
/// Where the block is to be, or not.
[[gnu::always_inline]] inline void* given(void* home) noexcept {
  if (home == nullptr) [[unlikely]]
    return go_without(is_exhausted);
  if (is_now_and_then(home)) [[unlikely]]
    sampled::pass_by();
  return home;
}

[[gnu::noinline]] bool release_slowly(void* ptr, Release with, size_t size, const void* caller) noexcept {
  const Death death = take(ptr, caller);
  if (death.found != Death::Found::done) return refuse(death, ptr, with, caller);
  if (death.damage.first != 0) {
    remap::Block before = death.block;
    before.live = true;
    tell_damage(describe(before), death.damage, death.found_bytes, name_of(with), caller);
  }
  if (is_unusual(death.block.born, death.block.size, with, size)) tell_of(death.block, with, size, caller);
  if (is_now_and_then(ptr)) do_what_is_due();
  return true;
}

/// A live block that is resized where it is.
bool resize_in_place(const Request& request, void* ptr, size_t size_before) noexcept {
  if (request.size > remap::kMost || reinterpret_cast<uintptr_t>(ptr) % std::max<size_t>(request.alignment, 1) != 0)
    return false;
  if (!remap::resize(ptr, request.size, note_of(request.kind, request.caller))) return false;
  if (zeroes(request.kind) && request.size > size_before)
    std::memset(static_cast<char*>(ptr) + size_before, 0, request.size - size_before);
  return true;
}

/// Where it goes that can't stay; nullptr: to the real allocator.
void* find_other_home(const Request& request, const Verdict& verdict, size_t room_before) noexcept {
  if (request.size == 0) return nullptr;
  if (verdict.period != 0 && sampled::may_have_home(request))
    if (void* const home = sampled::find_home(request, sampled::wanted_of(request, verdict, room_before));
        home != nullptr)
      return home;
  return allocate(request);
}

/// Tells what is wrong with a block that is to be resized.
void check(const Block& block, const Request& request) noexcept {
  sampled::check_resize(block, request);
  const tracked_alloc::noise::Damage damage = remap::inspect(block.address);
  if (damage.first != 0)
    tell_damage(block, damage, reinterpret_cast<const unsigned char*>(damage.first), name_of(request.kind),
                request.caller);
}

/// The first thread's, near whose stack nothing is mapped, whoever asks. Beside another's there may be somebody's
/// blocks.
bool is_on_stack(const void* ptr) noexcept {
  constexpr uintptr_t kMost = 64 << 20, kLikely = 8 << 20;
  const auto at = reinterpret_cast<uintptr_t>(ptr), here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const uintptr_t top = getauxval(AT_RANDOM);
  const uintptr_t bottom = here < top && top - here < kMost ? here : top - kLikely;
  return at >= bottom && at < top;
}

/// A file's data. An allocator may have blocks in its own.
bool is_in_file(const void* ptr) noexcept {
  const link_map* const map = map_of(ptr);
  return map != nullptr && map != map_of(next.malloc);
}

std::string_view say_why_not() noexcept {
  if (sandbox::state() != sandbox::State::open) return "a sandbox forbids system calls";
  sampled::prepare_homes();
  if (!tracked_alloc::begun()) return "there are no homes";
  if (!faults::be_armed()) return "faults can't be handled";
  return {};
}

remap::Dump wanted_dump() noexcept {
  switch (value(options.core)) {
    case Core::include:
      return remap::Dump::blocks;
    case Core::once:
      return remap::Dump::arena;
    case Core::exclude:
      break;
  }
  return remap::Dump::none;
}

remap::Engine wanted_engine() noexcept {
  switch (value(options.guard_mechanism)) {
    case GuardMechanism::automatic:
      return remap::Engine::automatic;
    case GuardMechanism::userfaultfd:
      return remap::Engine::userfaultfd;
    case GuardMechanism::markers:
      return remap::Engine::markers;
    case GuardMechanism::mprotect:
    case GuardMechanism::none:
      break;
  }
  return remap::Engine::none;
}

}  // namespace

constinit std::atomic<bool> is_armed{false};

void arm() noexcept {
  const bool all = options.protect.beyond_samples();
  if (armed() || sampled::dormant() || !(all || sampled::remapped::wanted())) return;
  std::string_view why_not = say_why_not();
  if (why_not.empty()) {
    stop::prepare();
    const bool begun = remap::begin(
        {.engine = wanted_engine(), .seed = process::next_seed(), .dump = wanted_dump(), .refused = say_refused});
    if (!begun && !all) why_not = "there can be no remapped homes here";
    if (!begun && all && tracked_alloc::mechanism() == tracked_alloc::pages::Mechanism::none)
      why_not = "there are neither remapped homes here nor guard pages";
    moves_in = map_of(next.malloc_usable_size) == map_of(next.realloc);
  }
  if (!why_not.empty()) {
    if (value(options.log) != LogLevel::off)
      voice::say((voice::line() << (all ? "blocks that are not sampled are not protected: " : "samples live in slots: ")
                                << why_not)
                     .view());
    return;
  }
  stacks.begin();
  closings.begin();
  is_armed.store(true, std::memory_order_release);
}

bool protects_all() noexcept { return armed() && options.protect.beyond_samples(); }

bool wants(const Request& request) noexcept {
  if (!armed() || !sampled::can_have_home(request.kind)) return false;
  const auto& wanted = options.protect;
  if (wanted.which() == Protect::Which::all) return true;
  if (wanted.wants_size(request.size)) return true;
  if (!wanted.has_callers()) return false;
  const Module module = module_of(request.caller);
  return wanted.wants_caller(module_hash(module.path.empty() ? process::program() : base_name(module.path)));
}

[[gnu::noinline]] static void* allocate_slowly(Kind kind, size_t size, size_t alignment, const void* caller) noexcept {
  const Request request{kind, size, alignment, caller};
  if (!wants(request) || !std::has_single_bit(alignment)) return nullptr;
  if (process::is_new_child()) sampled::notice_fork();
  if (size > remap::kMost || alignment > remap::kMostAlignment || !remap::begun()) return allocate_large(request);
  return given(remap::allocate({size, alignment, note_of(kind, caller), zeroes(kind)}, stripe()));
}

void* allocate(Kind kind, size_t size, size_t alignment, const void* caller) noexcept {
  if (const void* const asker = sampled::asker(); asker != nullptr) [[unlikely]]
    caller = asker;
  const bool usual = options.protect.which() == Protect::Which::all && size <= remap::kMost && alignment == kAnyType &&
                     armed() && remap::begun() && sampled::can_have_home(kind) && !process::is_new_child() &&
                     !has_stacks();
  if (!usual) [[unlikely]]
    return allocate_slowly(kind, size, alignment, caller);
  return given(remap::allocate(size, kAnyType, notes::of_caller(kind, caller), zeroes(kind), stripe()));
}

void* move_in(const Request& request, void* ptr) noexcept {
  if (ptr == nullptr || is_no_block(ptr, name_of(request.kind), request.caller)) return allocate(request);
  if (request.size == 0 || !moves_in || !wants(request)) return nullptr;
  const int error = errno;
  const size_t size = next.malloc_usable_size(ptr);
  void* const home = size != 0 ? allocate(request) : nullptr;
  if (home == nullptr) return nullptr;
  std::memcpy(home, ptr, std::min(size, request.size));
  unprotected().free(ptr);
  errno = error;
  return home;
}

bool is_no_block(const void* ptr, std::string_view function, const void* caller) noexcept {
  if (ptr == nullptr || (!is_on_stack(ptr) && !is_in_file(ptr))) return false;
  tell({.error = Error::invalid_free,
        .address = reinterpret_cast<uintptr_t>(ptr),
        .function = function,
        .caller = caller});
  return true;
}

bool release(void* ptr, Release with, size_t size, const void* caller) noexcept {
  __builtin_prefetch(ptr);  // the noise is near
  if (has_stacks() || !leaves_open()) [[unlikely]]
    return release_slowly(ptr, with, size, caller);
  const remap::Freed freed = remap::release_quietly(ptr, notes::of_caller(Kind{}, caller));
  if (!freed.done()) [[unlikely]]
    return release_slowly(ptr, with, size, caller);
  if (is_unusual(freed.note(), freed.size, with, size)) [[unlikely]]
    tell_of({.address = reinterpret_cast<uintptr_t>(ptr),
             .size = freed.size,
             .room = freed.size,
             .born = freed.note(),
             .died = 0,
             .live = false,
             .open = true},
            with, size, caller);
  if (is_now_and_then(ptr)) [[unlikely]]
    do_what_is_due();
  return true;
}

void leave(void* ptr, const Request& request) noexcept {
  const Death death = take(ptr, request.caller);
  if (death.found == Death::Found::done) {
    sampled::remapped::end(death.block, name_of(request.kind), request.caller);
  } else {  // another thread was at it, too
    sampled::complain(Error::resize_of_freed, claim_of(found_of(death.found, death.block), death.block, ptr), ptr,
                      name_of(request.kind), request.caller);
  }
  sweep_if_due();
}

bool measure(const void* ptr, size_t& size) noexcept {
  const remap::Answer answer = remap::find(reinterpret_cast<uintptr_t>(ptr));
  if (answer.found != remap::Answer::Found::live || answer.offset != 0) return false;
  size = answer.block.size;
  return true;
}

Loan borrow(const Request& request, void* ptr) noexcept {
  using enum Loan::Way;
  const remap::Answer answer = remap::find(reinterpret_cast<uintptr_t>(ptr));
  const bool live = answer.found == remap::Answer::Found::live;
  if (!live || answer.offset != 0) {
    const bool nowhere = answer.found == remap::Answer::Found::nowhere;
    if (nowhere && sampled::is_memory(ptr)) return {theirs, ptr};
    const Claim::Found found = nowhere ? Claim::Found::nowhere : live ? Claim::Found::inside : Claim::Found::freed;
    sampled::complain(Error::resize_of_freed, claim_of(found, answer.block, ptr), ptr, name_of(request.kind),
                      request.caller);
    return {done, real.malloc(request.size)};  // what was there is gone
  }
  const Block block = describe(answer.block);
  check(block, request);
  bool tested = false;
  const Verdict verdict = sampled::judge_resize(request, tested);
  add(&Counters::resized);
  const bool none_is_sample = verdict.period == 0 && !is_sampled(block.birth);
  if (none_is_sample && request.size != 0 && wants(request) && resize_in_place(request, ptr, block.size)) {
    if (tested) sampled::settle(request, verdict, true);
    return {done, ptr};
  }
  if (void* const home = find_other_home(request, verdict, is_sampled(block.birth) ? block.room : 0); home != nullptr) {
    std::memcpy(home, ptr, std::min(block.room, request.size));
    leave(ptr, request);
    if (tested) sampled::settle(request, verdict, true);
    return {done, home};
  }
  Loan loan{lent, sampled::lent_copy(request, ptr, block.room), ptr, 0, verdict};
  loan.verdict.way = tested ? Way::real : Way::pass;
  if (loan.ptr != nullptr) return loan;
  if (tested) sampled::settle(request, verdict, false);
  return {done, nullptr};
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

std::string_view engine() noexcept {
  if (!armed()) return "none";
  if (!remap::begun()) return "guards";
  constexpr std::string_view kNames[] = {"runs", "userfaultfd", "markers", "runs"};
  return kNames[static_cast<size_t>(remap::engine())];
}

Block describe(const remap::Block& block) noexcept {
  Block out = tracked_alloc::describe(block);
  notes::look_up(out);
  return out;
}

}  // namespace poireau::protect
