#include <atomic>
#include <cerrno>

#include "preload/base/random.h"
#include "tracked_alloc/pages_steps.h"

/// userfaultfd, Linux 5.11: a missing page raises SIGBUS for as long as a descriptor watches its range.
namespace poireau::tracked_alloc::pages {
namespace {

// A program that has whole pages in a block may use MADV_DONTNEED on them, and read zeros then; here it would fault.
constexpr size_t kLargest = kPage - 1;
[[gnu::section(".lbss")]] constinit char zeros[kPage]{};  // never written; a constant would take a page of the file

/// A descriptor's number plus one, 24 bits; how often it has changed, 8 bits; and what tells its file from any other
/// that the program may put at that number.
using Watcher = uint64_t;
constexpr Watcher kNumbers = 0xffffff, kTurn = kNumbers + 1, kTurns = 0xff * kTurn;
constexpr Watcher kNoWatcher = 0, kLost = ~(kNumbers | kTurns);

int number_of(Watcher watcher) noexcept { return static_cast<int>(watcher & kNumbers) - 1; }
bool same(Watcher one, Watcher other) noexcept { return ((one ^ other) & ~kTurns) == 0; }

Watcher look_at(int number) noexcept {
  sys::FileInfo file;
  if (number < 0 || number >= static_cast<int>(kNumbers) || !sys::file_info(number, file)) return kNoWatcher;
  return (scramble(file.device) ^ file.inode) << 32 | static_cast<Watcher>(number + 1);
}
bool is_there(Watcher watcher) noexcept {
  return number_of(watcher) >= 0 && same(look_at(number_of(watcher)), watcher);
}

/// In a page that a fork child finds wiped, so that it can't use its parent's descriptor: that acts on the parent's
/// memory. A vfork child shares all this, but its descriptors are its own.
struct Mine {
  std::atomic<Watcher> watcher;
  std::atomic<int> process;
};
constinit std::atomic<Mine*> mine{nullptr};
constinit std::atomic<Watcher> known{kNoWatcher};  // in a fork child at first: its parent's
constinit std::atomic<bool> had_gap{false};        // pages were unwatched for a while: after a loss, or a fork

Watcher current() noexcept {
  const Mine* const page = mine.load(std::memory_order_acquire);
  return page == nullptr ? kNoWatcher : page->watcher.load(std::memory_order_acquire);
}

/// To be called after each change. Threads that change it at once all end up telling the last.
void tell_what_is_current() noexcept {
  Watcher watcher;
  do {
    watcher = current();
    known.store(watcher);
    guard_descriptor.store(number_of(watcher) >= 0 ? number_of(watcher) : kNotAsked);
  } while (current() != watcher);
}

bool change(Watcher from, Watcher to) noexcept {
  const Watcher turns = (from + kTurn) & kTurns;
  const bool changed = mine.load()->watcher.compare_exchange_strong(from, (to & ~kTurns) | turns);
  if (changed) tell_what_is_current();
  return changed;
}

Mine* wiped_page() noexcept {
  if (Mine* const page = mine.load(std::memory_order_acquire); page != nullptr) return page;
  void* const page = sys::map(kPage);
  if (page == nullptr) return nullptr;
  Mine* first = nullptr;
  if (sys::wipe_on_fork(page, kPage) && mine.compare_exchange_strong(first, static_cast<Mine*>(page)))
    return static_cast<Mine*>(page);
  sys::unmap(page, kPage);
  return first;
}

/// The same file under a number that programs don't come to by counting up; -1: there is none.
int duplicate_high(int number) noexcept {
  for (int lowest = 1000; lowest > 2; lowest /= 2)
    if (const int high = sys::duplicate(number, lowest); high >= 0) return high;
  return -1;
}

Watcher new_watcher() noexcept {
  const int low = sys::userfaultfd();
  if (low < 0) return kNoWatcher;
  const int high = duplicate_high(low);
  sys::close(low);
  if (high < 0) return kNoWatcher;
  const Watcher watcher = look_at(high);
  if (watcher == kNoWatcher) sys::close(high);
  return watcher;
}

/// Makes sure that this process has a descriptor of its own.
bool have_watcher() noexcept {
  if (!allowed(Allowed::everything) || wiped_page() == nullptr) return false;
  const Watcher before = current();
  if (number_of(before) >= 0) return true;
  const Watcher inherited = known.exchange(before);
  if (!same(inherited, kNoWatcher)) had_gap.store(true, std::memory_order_relaxed);
  if (is_there(inherited)) sys::close(number_of(inherited));
  tell_what_is_current();
  const int process = sys::process_id();
  const Watcher fresh = process > 0 ? new_watcher() : kNoWatcher;
  if (fresh == kNoWatcher) return false;
  mine.load()->process.store(process, std::memory_order_relaxed);
  if (!change(before, fresh)) sys::close(number_of(fresh));
  return true;
}

bool in_own_process() noexcept { return sys::process_id() == mine.load()->process.load(std::memory_order_relaxed); }

/// What `ask(descriptor)` returns, or EBADF. Whoever closed our descriptor has opened all guards.
template <typename Ask>
int with_descriptor(Ask&& ask) noexcept {
  if (!allowed(Allowed::everything)) return EPERM;
  for (;;) {
    const Watcher watcher = current();
    if (number_of(watcher) < 0) return EBADF;
    const int error = is_there(watcher) ? ask(number_of(watcher)) : EBADF;
    if (error != EBADF && error != ENOTTY) return error;
    if (current() != watcher) continue;  // it has been moved
    if (!is_there(watcher) && in_own_process()) change(watcher, kLost);
    return error;
  }
}

bool watch(void* at, size_t size) noexcept {
  return with_descriptor([&](int descriptor) { return sys::watch(descriptor, at, size); }) == 0;
}

bool supply(void* page) noexcept {
  const auto ask = [&](int descriptor) { return sys::supply(descriptor, page, zeros); };
  // Whose descriptor it is need not be asked first: for a page that is not watched by ours any more nobody's serves.
  const int number = allowed(Allowed::everything) ? number_of(current()) : -1;
  int error = number < 0 ? EBADF : ask(number);
  if (error != 0 && error != EEXIST) error = with_descriptor(ask);
  if (error != EEXIST) return error == 0;
  // Open already, as for another thread that wants the same; or somebody wrote to it unseen.
  if (!had_gap.load(std::memory_order_relaxed)) return true;
  return apply(page, kPage, sys::Advice::forget) && with_descriptor(ask) == 0;
}

bool map(void* at, size_t size) noexcept {
  if (!claim(at, size, true)) return false;
  if (watch(at, size) && protect(at, size, true)) return true;
  sys::unmap(at, size);
  return false;
}

bool close(void* at, size_t size) noexcept { return number_of(current()) >= 0 && apply(at, size, sys::Advice::forget); }

bool open(void* at, size_t size) noexcept {
  for (size_t done = 0; done < size; done += kPage)
    if (!supply(static_cast<char*>(at) + done)) {
      if (done != 0) static_cast<void>(close(at, done));
      return false;
    }
  return true;
}

bool map_again(void* at, size_t size) noexcept { return have_watcher() && watch(at, size); }

bool probe() noexcept {
  if (!have_watcher()) return false;
  if (try_out(kUserfaultfd)) return true;
  if (const Watcher useless = current(); change(useless, kNoWatcher)) sys::close(number_of(useless));
  return false;
}

}  // namespace

constinit const Guards kUserfaultfd{Mechanism::userfaultfd, probe, map, open, close, map_again, SIZE_MAX, kLargest};

int ask_watcher(int (*ask)(int descriptor, void* at, size_t size) noexcept, void* at, size_t size) noexcept {
  if (!have_watcher()) return EBADF;
  return with_descriptor([&](int descriptor) { return ask(descriptor, at, size); });
}

bool move_descriptor() noexcept {
  const Watcher before = current();
  const int number = number_of(before);
  if (!allowed(Allowed::everything) || !is_there(before) || !in_own_process()) return false;
  const int other = duplicate_high(number);
  if (other < 0) return false;
  const Watcher moved = look_at(other);
  const bool done = moved != kNoWatcher && change(before, moved);
  sys::close(done ? number : other);
  return done;
}

bool guards_lost() noexcept { return same(current(), kLost); }

}  // namespace poireau::tracked_alloc::pages
