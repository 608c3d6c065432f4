#include "preload/fork_copy.h"

#include <atomic>
#include <cerrno>
#include <new>

#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/sweep.h"
#include "tracked_alloc/remap.h"

namespace poireau::fork_copy {
namespace {

namespace remap = tracked_alloc::remap;

constexpr uint64_t kMillisecond = 1'000'000;
constexpr int kOthers = 500;                         // milliseconds to wait for who forks or sweeps already
constexpr uint64_t kBeforeFork = 50 * kMillisecond;  // libc may want a lock that a thread has which stands still
constexpr int kChild = 2'000, kAtWork = 20'000;      // milliseconds that the child has to begin, and to come apart

/// What parent and child tell each other, in a page that they share. `whole`: nobody has written since the copy was
/// made; `swapping`: the child puts right what it has written itself; `late`: it makes a copy of its own; `apart`: it
/// has one.
enum Stage : uint32_t { waiting, whole, swapping, late, apart };
constinit std::atomic<uint32_t>* stage = nullptr;

constinit std::atomic<uint64_t> torn_copies{0};
constinit std::atomic<uintptr_t> forker{0};  // the thread that forks, by its pointer
constinit unsigned within = 0;               // forks of it in signal handlers, while it does so
constinit bool copied = false;
constinit int programs_errno = 0;

alignas(stop::Others) constinit std::byte storage[sizeof(stop::Others)];
constinit stop::Others* others = nullptr;

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

/// Tries it, for a while.
template <typename Step>
bool in_time(int milliseconds, Step&& step) noexcept {
  for (int left = milliseconds; left > 0; --left) {
    if (step()) return true;
    sys::sleep(kMillisecond);
  }
  return step();
}

bool be_the_forker() noexcept {
  uintptr_t nobody = 0;
  return forker.compare_exchange_strong(nobody, cpu::thread_pointer());
}

bool hold_others() noexcept {
  others = new (storage) stop::Others();
  if (others->why() != stop::Others::Why::busy) return true;
  others->~Others();
  others = nullptr;
  return false;
}

void let_others_go() noexcept {
  if (others != nullptr) others->~Others();
  others = nullptr;
}

bool have_stage() noexcept {
  if (stage == nullptr) stage = static_cast<std::atomic<uint32_t>*>(sys::map_shared(sizeof *stage));
  if (stage != nullptr) stage->store(waiting);
  return stage != nullptr;
}

void tell(Stage now) noexcept {
  stage->store(now, std::memory_order_release);
  sys::wake_all(*stage);
}

bool change(Stage from, Stage to) noexcept {
  uint32_t before = from;
  return stage->compare_exchange_strong(before, to);
}

/// Waits as long as it is one of two, and as there is somebody to change that.
Stage wait_while(Stage one, Stage other, int milliseconds, bool (*in_vain)() noexcept) noexcept {
  uint32_t now;
  for (int left = milliseconds;; --left) {
    now = stage->load(std::memory_order_acquire);
    if ((now != one && now != other) || left == 0) break;
    if (!sys::wait_while(*stage, now, kMillisecond) && in_vain()) break;
  }
  return static_cast<Stage>(now);
}

/// Returns whether the child has come apart as it should.
bool wait_for_child(bool held) noexcept {
  if (change(waiting, held ? whole : late)) sys::wake_all(*stage);  // else it has not waited for that
  if (wait_while(whole, late, kChild, sys::childless) == whole && change(whole, late)) return false;
  return wait_while(swapping, late, stage->load() == late ? 1 : kAtWork, sys::childless) == apart && held;
}

void come_apart() noexcept {
  if (stage != nullptr) tell(apart);
}

void stay() noexcept {}

/// The parent's word, which is on its way.
bool parent_holds() noexcept {
  constexpr auto kNever = []() noexcept { return false; };
  return stage != nullptr && wait_while(waiting, waiting, kChild, kNever) == whole;
}

}  // namespace

void before() noexcept {
  if (!remap::begun() || !may_ask()) return;
  if (forking()) {
    ++within;
    return;
  }
  if (!in_time(kOthers, be_the_forker)) return;
  programs_errno = errno;
  const bool held = in_time(kOthers, hold_others) && *others;
  remap::take_stack_apart();
  copied = have_stage() && held && remap::before_fork();
  if (held) others->go_on_after(kBeforeFork);
  errno = 0;  // libc's fork will say whether there is a child
}

void in_parent() noexcept {
  if (!forking()) return;
  if (within != 0) {
    --within;
    return;
  }
  // Other handlers may have left something there.
  const bool forked = errno != EAGAIN && errno != ENOMEM && errno != ENOSYS;
  if (errno == 0) errno = programs_errno;
  if (others != nullptr) others->go_on_after(0);
  const bool held = copied && others->held();
  if (forked && !(stage != nullptr && wait_for_child(held))) torn_copies.fetch_add(1, std::memory_order_relaxed);
  remap::after_fork_in_parent();
  forker = 0;
  let_others_go();
}

void in_child() noexcept {
  // In a handler that interrupted a fork: that one goes on here, too, and is seen again.
  const bool inner = forking() && within != 0, seen = !inner && forking();
  if (inner)
    --within;
  else
    forker = 0;
  if (seen) errno = programs_errno;
  stop::forked();
  sweep::forked();
  if (!seen) others = nullptr;
  const bool may_swap = seen && copied && parent_holds() && change(whole, swapping);
  if (!inner) within = 0;
  if (!remap::begun()) return;
  const bool done = remap::after_fork_in_child(may_swap, seen ? come_apart : stay);
  torn_copies.store(done && may_swap ? 0 : 1, std::memory_order_relaxed);
  if (stage != nullptr) sys::unmap(stage, sizeof *stage);
  stage = nullptr;
  let_others_go();
}

bool forking() noexcept { return forker.load(std::memory_order_relaxed) == cpu::thread_pointer(); }

uint64_t torn() noexcept { return torn_copies.load(std::memory_order_relaxed); }

}  // namespace poireau::fork_copy
