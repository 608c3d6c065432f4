#include "tracked_alloc/headroom.h"

#include <algorithm>
#include <atomic>

#include "preload/base/sys.h"
#include "tracked_alloc/proc.h"

namespace poireau::tracked_alloc::headroom {
namespace {

constexpr uint64_t kPage = 4096, kShare = 64;

constinit std::atomic<size_t> used{0};
constinit std::atomic<size_t> bound{SIZE_MAX};

/// What may still be mapped under the limit; SIZE_MAX: no limit, or none that we can see. `column` of statm counts
/// what is mapped by now, in pages; if that can't be read, all of the limit counts as free.
uint64_t left_under(sys::Limit limit, int column) noexcept {
  uint64_t most, pages = 0;
  if (!sys::limit_of(limit, most) || most == SIZE_MAX) return SIZE_MAX;
  if (!proc::read_number("/proc/self/statm", "", column, pages)) return most;
  return most - std::min(most, pages * kPage);
}

/// What the kernel will still promise, where it promises no more than it has.
uint64_t left_to_commit() noexcept {
  constexpr uint64_t kNever = 2;
  uint64_t policy = 0, most, committed;
  if (!proc::read_number("/proc/sys/vm/overcommit_memory", "", 0, policy) || policy != kNever) return SIZE_MAX;
  if (!proc::read_number("/proc/meminfo", "\nCommitLimit:", 0, most) ||
      !proc::read_number("/proc/meminfo", "\nCommitted_AS:", 0, committed))
    return SIZE_MAX;
  return (most - std::min(most, committed)) * 1024;
}

}  // namespace

void learn(bool open) noexcept {
  // A filter may kill for any call that could tell. Mapping too much then fails by itself.
  uint64_t left = SIZE_MAX;
  if (open)
    left = std::min({left_under(sys::Limit::address_space, 0), left_under(sys::Limit::data, 5), left_to_commit()});
  bound.store(left == SIZE_MAX ? SIZE_MAX : left / kShare, std::memory_order_relaxed);
}

bool take(size_t size) noexcept {
  const size_t most = limit();
  size_t now = used.load(std::memory_order_relaxed);
  do {
    if (now > most || size > most - now) return false;
  } while (!used.compare_exchange_weak(now, now + size, std::memory_order_relaxed));
  return true;
}

bool has(size_t size) noexcept {
  const size_t most = limit(), now = used.load(std::memory_order_relaxed);
  return now <= most && size <= most - now;
}

void give_back(size_t size) noexcept { used.fetch_sub(size, std::memory_order_relaxed); }

size_t taken() noexcept { return used.load(std::memory_order_relaxed); }
size_t limit() noexcept { return bound.load(std::memory_order_relaxed); }

}  // namespace poireau::tracked_alloc::headroom
