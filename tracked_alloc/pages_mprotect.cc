#include <algorithm>
#include <atomic>

#include "tracked_alloc/pages_steps.h"
#include "tracked_alloc/proc.h"

/// mprotect: any Linux. Open pages among closed ones split the mapping, and a process has few mappings: 65530, unless
/// the administrator says otherwise.
namespace poireau::tracked_alloc::pages {
namespace {

constexpr size_t kShare = 16;  // of all mappings: each open range costs two of them
constexpr size_t kMost = 65530 / kShare;
constexpr size_t kLeast = 64;

constinit std::atomic<size_t> most{kMost}, opened{0};
/// Mappings split by what was open at some fork: in the child their parts never become one again.
constinit std::atomic<size_t> split_for_good{0};
constinit std::atomic<uintptr_t> first_range{0};

bool probe() noexcept {
  uint64_t mappings;
  if (allowed(Allowed::everything) && proc::read_number("/proc/sys/vm/max_map_count", "", 0, mappings))
    most.store(std::clamp<uint64_t>(mappings / kShare, kLeast, kMost), std::memory_order_relaxed);
  const bool works = try_out(kMprotect);
  first_range.store(0, std::memory_order_relaxed);
  return works;
}

/// A mapping that has had a page in it is merged only with mappings of the same descent (anon_vma). A page in each
/// range, before anything splits it, makes all of its parts kin, and kin of the range before.
bool seed(void* at) noexcept {
  *static_cast<volatile char*>(at) = 0;
  return apply(at, kPage, sys::Advice::forget);
}

bool map(void* at, size_t size) noexcept {
  if (!claim(at, size, true)) return false;
  if (protect(at, size, true) && seed(at) && protect(at, size, false)) {
    uintptr_t none = 0;
    first_range.compare_exchange_strong(none, reinterpret_cast<uintptr_t>(at), std::memory_order_relaxed);
    return true;
  }
  sys::unmap(at, size);
  return false;
}

bool open(void* at, size_t size) noexcept {
  const size_t splits = opened.fetch_add(1, std::memory_order_relaxed) + split_for_good.load(std::memory_order_relaxed);
  if (splits < most.load(std::memory_order_relaxed) && protect(at, size, true)) return true;
  opened.fetch_sub(1, std::memory_order_relaxed);
  return false;
}

bool close(void* at, size_t size) noexcept {
  // In this order nobody finds zeros where a block was.
  if (!protect(at, size, false)) return false;
  if (!apply(at, size, sys::Advice::forget)) {
    static_cast<void>(protect(at, size, true));
    return false;
  }
  opened.fetch_sub(1, std::memory_order_relaxed);
  return true;
}

bool map_again(void* at, size_t size) noexcept {
  const uintptr_t begin = reinterpret_cast<uintptr_t>(at);
  if (first_range.load(std::memory_order_relaxed) - begin < size)  // once a fork
    split_for_good.fetch_add(opened.load(std::memory_order_relaxed), std::memory_order_relaxed);
  return true;
}

}  // namespace

constinit const Guards kMprotect{Mechanism::mprotect, probe, map, open, close, map_again, kMost, SIZE_MAX};

}  // namespace poireau::tracked_alloc::pages
