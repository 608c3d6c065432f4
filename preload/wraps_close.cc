#include <linux/close_range.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "preload/base/sys.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "tracked_alloc/pages.h"

// Userfaultfd's guards hang on a descriptor of ours, and go without a word when it is closed. Programs do close
// descriptors that they know nothing of (daemons, before exec): to them ours is not open, and its number theirs to use.
// A vfork child's table is a copy; what it does not close there goes at exec.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]
#define HOOK_COLD [[gnu::cold, gnu::noinline]] static

using namespace poireau;
namespace pages = tracked_alloc::pages;

namespace {

constexpr int kNone = -1, kNotOpen = -1;

/// Whether this call needs no second look: there is something to call, and nothing of ours to hit.
bool is_harmless() { return pages::descriptor() == kNone; }

/// Any call may be the first that this library sees.
int ours() {
  lifecycle::be_resolved();
  int unasked = pages::kNotAsked;
  pages::guard_descriptor.compare_exchange_strong(unasked, kNone, std::memory_order_relaxed);
  return pages::descriptor();
}

bool is_ours(int file) {
  const int kept = ours();
  return kept >= 0 && file == kept;
}

}  // namespace

HOOK_COLD int close_another(int file) {
  const bool hidden = is_ours(file);
  return real.close(hidden ? kNotOpen : file);
}
HOOK_EXPORT int close(int file) {
  if (!is_harmless()) [[unlikely]]
    return close_another(file);
  return real.close(file);
}

HOOK_COLD int close_others(unsigned first, unsigned last, int flags) {
  const int found = ours();
  const auto kept = static_cast<unsigned>(found);
  const bool closes = (flags & ~CLOSE_RANGE_UNSHARE) == 0;  // CLOEXEC does ours no harm
  if (found < 0 || kept < first || kept > last || !closes) return real.close_range(first, last, flags);
  if (kept > first)
    if (const int failed = real.close_range(first, kept - 1, flags); failed != 0 || kept == last) return failed;
  return kept < last ? real.close_range(kept + 1, last, flags) : real.close_range(UINT_MAX, UINT_MAX, flags);
}
HOOK_EXPORT int close_range(unsigned first, unsigned last, int flags) {
  if (!is_harmless()) [[unlikely]]
    return close_others(first, last, flags);
  return real.close_range(first, last, flags);
}

HOOK_COLD void close_others_from(int first) {
  const int kept = ours(), lowest = std::max(first, 0);
  if (kept < lowest) return real.closefrom(first);
  const int error = errno;
  // Before Linux 5.9 one by one, as libc does it there.
  if (lowest < kept && real.close_range(static_cast<unsigned>(lowest), static_cast<unsigned>(kept - 1), 0) != 0)
    for (int file = lowest; file < kept; ++file) sys::close(file);
  errno = error;
  real.closefrom(kept + 1);
}
HOOK_EXPORT void closefrom(int first) {
  if (!is_harmless()) [[unlikely]]
    return close_others_from(first);
  real.closefrom(first);
}

/// Should it be impossible to make room, the program comes first, and the guards are lost.
static void make_room(int to) {
  if (is_ours(to)) pages::move_descriptor();
}

HOOK_COLD int duplicate(int file, int to) {
  if (is_ours(file)) return real.dup2(kNotOpen, to);
  make_room(to);
  return real.dup2(file, to);
}
HOOK_EXPORT int dup2(int file, int to) {
  if (!is_harmless()) [[unlikely]]
    return duplicate(file, to);
  return real.dup2(file, to);
}

HOOK_COLD int duplicate_with(int file, int to, int flags) {
  const bool hidden = is_ours(file);
  if (file == to) return real.dup3(file, to, flags);  // refused, whatever it is
  if (hidden) return real.dup3(kNotOpen, to, flags);
  make_room(to);
  return real.dup3(file, to, flags);
}
HOOK_EXPORT int dup3(int file, int to, int flags) {
  if (!is_harmless()) [[unlikely]]
    return duplicate_with(file, to, flags);
  return real.dup3(file, to, flags);
}
