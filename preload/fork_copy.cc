#include "preload/fork_copy.h"

#include <atomic>
#include <new>

#include "preload/base/sys.h"
#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/sweep.h"
#include "tracked_alloc/remap.h"

namespace poireau::fork_copy {
namespace {

namespace remap = tracked_alloc::remap;

constexpr uint64_t kMillisecond = 1'000'000;
constexpr int kBusy = 200;                            // milliseconds to wait for who stops the threads already
constexpr uint64_t kBeforeFork = 50 * kMillisecond;   // libc may want a lock that a thread has which stands still
constexpr int kChild = 2'000;                         // milliseconds that the child has to come apart

constinit std::atomic<uint64_t> torn_copies{0};
constinit std::atomic<int> forking{0};  // the thread; 0: none
/// In a page that parent and child share: 1 when the child has come apart.
constinit std::atomic<uint32_t>* apart = nullptr;

alignas(stop::Others) constinit std::byte storage[sizeof(stop::Others)];
constinit stop::Others* others = nullptr;

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

void hold_others() noexcept {
  for (int left = kBusy; left > 0; --left) {
    others = new (storage) stop::Others();
    if (others->why() != stop::Others::Why::busy) return;
    others->~Others();
    others = nullptr;
    sys::sleep(kMillisecond);
  }
}

void let_others_go() noexcept {
  if (others != nullptr) others->~Others();
  others = nullptr;
}

bool have_shared_page() noexcept {
  if (apart == nullptr) apart = static_cast<std::atomic<uint32_t>*>(sys::map_shared(sizeof *apart));
  if (apart != nullptr) apart->store(0);
  return apart != nullptr;
}

void wait_for_child() noexcept {
  for (int left = kChild; left > 0 && apart->load(std::memory_order_acquire) == 0; --left)
    if (!sys::wait_while(*apart, 0, kMillisecond) && sys::childless()) return;
  if (apart->load(std::memory_order_acquire) == 0) torn_copies.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

void before() noexcept {
  int nobody = 0;
  if (!remap::begun() || !may_ask() || !forking.compare_exchange_strong(nobody, sys::thread_id())) return;
  hold_others();
  const bool held = others != nullptr && *others;
  if (!have_shared_page() || !held || !remap::before_fork()) torn_copies.fetch_add(1, std::memory_order_relaxed);
  if (held) others->go_on_after(kBeforeFork);
}

void in_parent(bool forked) noexcept {
  if (forking.load(std::memory_order_relaxed) == 0 || forking != sys::thread_id()) return;
  if (others != nullptr) {
    if (*others && !others->held()) torn_copies.fetch_add(1, std::memory_order_relaxed);
    others->go_on_after(0);
  }
  if (forked && apart != nullptr) wait_for_child();
  remap::after_fork_in_parent();
  forking = 0;
  let_others_go();
}

void in_child() noexcept {
  const bool seen = forking.exchange(0) != 0, whole = seen && others != nullptr && others->held();
  stop::forked();
  sweep::forked();
  const bool copied = remap::after_fork_in_child([]() noexcept {
    if (apart == nullptr) return;
    apart->store(1, std::memory_order_release);
    sys::wake_all(*apart);
  });
  torn_copies.store(remap::begun() && copied && whole ? 0 : 1, std::memory_order_relaxed);
  if (apart != nullptr) sys::unmap(apart, sizeof *apart);
  apart = nullptr;
  let_others_go();
}

uint64_t torn() noexcept { return torn_copies.load(std::memory_order_relaxed); }

}  // namespace poireau::fork_copy
