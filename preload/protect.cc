#include "preload/protect.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdlib>

#include "preload/module.h"
#include "preload/process.h"
#include "preload/protect_parts.h"
#include "preload/sampled_blocks.h"
#include "preload/sampled_remapped.h"
#include "preload/sweep.h"
#include "preload/voice.h"
#include "tracked_alloc/records.h"

namespace poireau::protect {
namespace {

using config::Protect;
using remap::Death;
using report::Error;
using sampled::Request;

constexpr size_t kAnyType = alignof(max_align_t);
constexpr size_t kPage = tracked_alloc::region::kPage;

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
  sampled::complain(Error::invalid_free, claim_of(death, ptr), ptr, name_of(with), caller);
  return true;
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

}  // namespace

constinit std::atomic<bool> is_armed{false};
[[gnu::section(".lbss")]] constinit Counters counters[kStripes]{};
constinit Budget stacks{5'000, 10'000}, closings{3'000, 20'000};

notes::Note note_of(Kind kind, const void* caller) noexcept {
  if (!has_stacks()) return notes::of_caller(kind, caller);
  const Budget::Expense expense(stacks);
  const uint32_t stack = sampled::stack_number(caller);
  return stack != 0 ? notes::of_stack(kind, stack) : notes::of_caller(kind, caller);
}
Death take(void* ptr, const void* caller) noexcept {
  const notes::Note note = note_of(Kind{}, caller);
  const Revoke revoke = value(options.revoke);
  if (revoke != Revoke::governed || closings.spent())
    return remap::release(ptr, note, closing(revoke == Revoke::immediate));
  const Budget::Expense expense(closings);
  return remap::release(ptr, note, closing(true));
}

void sweep_if_due() noexcept {
  if (sweep::due()) [[unlikely]]
    sweep::run();
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

}  // namespace poireau::protect
