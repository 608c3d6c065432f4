#include <linux/close_range.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/descriptors.h"
#include "preload/module.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "tracked_alloc/pages.h"

// Userfaultfd's guards hang on a descriptor of ours, and go without a word when it is closed; LTTng aborts at exit when
// it finds its own closed. Programs do close descriptors that they know nothing of (daemons, before exec): to them ours
// are not open, and that of the guards is a number of theirs to use.
// A vfork child's table is a copy; what it does not close there goes at exec.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]
#define HOOK_COLD [[gnu::cold, gnu::noinline]] static

using namespace poireau;
namespace pages = tracked_alloc::pages;

namespace {

constexpr int kNone = -1, kNotOpen = -1;

/// Whether this call needs no second look: there is something to call, and nothing of ours to hit.
bool is_harmless() {
  return pages::descriptor() == kNone && lttng_descriptors.load(std::memory_order_relaxed) == nullptr;
}

/// That of the guards. Any call may be the first that this library sees.
int guards() {
  lifecycle::be_resolved();
  int unasked = pages::kNotAsked;
  pages::guard_descriptor.compare_exchange_strong(unasked, kNone, std::memory_order_relaxed);
  return pages::descriptor();
}

/// The first of LTTng's from `first` on.
int next_of_lttng(int first) {
  const Descriptors* const theirs = lttng_descriptors.load(std::memory_order_acquire);
  return theirs == nullptr ? kNone : theirs->next(first);
}

/// The first of all that are hidden from `first` on.
int next_of_ours(int first) {
  const int guard = guards(), other = next_of_lttng(first);
  if (guard < std::max(first, 0)) return other;
  return other == kNone ? guard : std::min(guard, other);
}

bool is_lttngs(int file) { return file >= 0 && next_of_lttng(file) == file; }
bool is_guards(int file) {
  const int kept = guards();
  return kept >= 0 && file == kept;
}

/// Whether the one who calls is LTTng itself.
bool is_lttng(const void* caller) { return base_name(module_of(caller).path).starts_with("liblttng-ust"); }

}  // namespace

HOOK_COLD int close_another(int file, const void* caller) {
  const bool hidden = is_guards(file) || (is_lttngs(file) && !is_lttng(caller));
  return real.close(hidden ? kNotOpen : file);
}
HOOK_EXPORT int close(int file) {
  if (!is_harmless()) [[unlikely]]
    return close_another(file, __builtin_return_address(0));
  return real.close(file);
}

HOOK_COLD int close_others(unsigned first, unsigned last, int flags) {
  constexpr unsigned kMost = INT_MAX;
  int kept = next_of_ours(static_cast<int>(std::min(first, kMost)));
  const auto in_range = [&] { return kept >= 0 && static_cast<unsigned>(kept) <= last; };
  const bool closes = (flags & ~CLOSE_RANGE_UNSHARE) == 0;  // CLOEXEC does ours no harm
  if (!closes || !in_range()) return real.close_range(first, last, flags);
  bool done = false;
  for (; in_range(); first = static_cast<unsigned>(kept) + 1, kept = next_of_ours(kept + 1)) {
    const auto end = static_cast<unsigned>(kept);
    if (end == first) continue;
    if (const int failed = real.close_range(first, end - 1, flags); failed != 0) return failed;
    done = true;
  }
  if (first <= last) return real.close_range(first, last, flags);
  return done ? 0 : real.close_range(UINT_MAX, UINT_MAX, flags);
}
HOOK_EXPORT int close_range(unsigned first, unsigned last, int flags) {
  if (!is_harmless()) [[unlikely]]
    return close_others(first, last, flags);
  return real.close_range(first, last, flags);
}

HOOK_COLD void close_others_from(int first) {
  first = std::max(first, 0);
  for (int kept; (kept = next_of_ours(first)) >= 0; first = kept + 1) {
    const int error = errno;
    // Before Linux 5.9 one by one, as libc does it there.
    if (first < kept && real.close_range(static_cast<unsigned>(first), static_cast<unsigned>(kept - 1), 0) != 0)
      for (int file = first; file < kept; ++file) sys::close(file);
    errno = error;
  }
  real.closefrom(first);
}
HOOK_EXPORT void closefrom(int first) {
  if (!is_harmless()) [[unlikely]]
    return close_others_from(first);
  real.closefrom(first);
}

/// Makes a number of ours the program's to have. Should it be impossible, the program comes first, and the guards are
/// lost; but not LTTng, which would go on writing there. False: the program has to do without.
[[nodiscard]] static bool make_room(int to) {
  if (is_guards(to)) pages::move_descriptor();
  return !is_lttngs(to);
}

static int refuse() {
  errno = EBUSY;  // as the kernel does when another thread is about to get the number
  return -1;
}

HOOK_COLD int duplicate(int file, int to) {
  if (is_guards(file) || is_lttngs(file)) return real.dup2(kNotOpen, to);
  return make_room(to) ? real.dup2(file, to) : refuse();
}
HOOK_EXPORT int dup2(int file, int to) {
  if (!is_harmless()) [[unlikely]]
    return duplicate(file, to);
  return real.dup2(file, to);
}

HOOK_COLD int duplicate_with(int file, int to, int flags) {
  const bool hidden = is_guards(file) || is_lttngs(file);
  if (file == to) return real.dup3(file, to, flags);  // refused, whatever it is
  if (hidden) return real.dup3(kNotOpen, to, flags);
  return make_room(to) ? real.dup3(file, to, flags) : refuse();
}
HOOK_EXPORT int dup3(int file, int to, int flags) {
  if (!is_harmless()) [[unlikely]]
    return duplicate_with(file, to, flags);
  return real.dup3(file, to, flags);
}
