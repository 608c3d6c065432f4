#include <sys/auxv.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "preload/module.h"
#include "preload/protect_parts.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled_blocks.h"
#include "preload/sampled_remapped.h"

/// Blocks that get another size, and what is no block.
namespace poireau::protect {
namespace {

using remap::Death;
using report::Error;
using report::tell;
using sampled::Loan;
using sampled::Request;
using sampled::Verdict;
using sampled::Way;
using tracked_alloc::Block;
using tracked_alloc::Claim;

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

}  // namespace

constinit bool moves_in = false;

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

void leave(void* ptr, const Request& request) noexcept {
  const Death death = take(ptr, request.caller);
  if (death.found == Death::Found::done) {
    sampled::remapped::end(death.block, name_of(request.kind), request.caller);
  } else {  // another thread was at it, too
    sampled::complain(Error::resize_of_freed, claim_of(death, ptr), ptr, name_of(request.kind), request.caller);
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

}  // namespace poireau::protect
