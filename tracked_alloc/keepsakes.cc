#include "tracked_alloc/keepsakes.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "preload/base/sys.h"
#include "tracked_alloc/headroom.h"

namespace poireau::tracked_alloc::keepsakes {
namespace {

constinit std::atomic<unsigned char*> ring{nullptr};
constinit size_t capacity = 0;            // a power of two
constinit std::atomic<uint64_t> head{0};  // bytes ever given out; a keepsake is known by where it begins, plus one

/// Whether nobody has been given the bytes at `where` since.
bool stands(uint64_t where) noexcept { return head.load(std::memory_order_acquire) - (where - 1) <= capacity; }

}  // namespace

void begin(size_t budget) noexcept {
  const size_t size = std::bit_floor(budget);
  if (size < 2 * kMost || !headroom::take(size)) return;
  void* const got = sys::map(size);
  if (got == nullptr) {
    headroom::give_back(size);
    return;
  }
  capacity = size;
  ring.store(static_cast<unsigned char*>(got), std::memory_order_release);
}

uint64_t keep(uintptr_t block, size_t size) noexcept {
  unsigned char* const at = ring.load(std::memory_order_acquire);
  if (at == nullptr || size == 0) return 0;
  size = std::min(size, kMost);
  uint64_t begin = head.load(std::memory_order_relaxed), from;
  do {  // in one piece
    from = begin % capacity + size > capacity ? begin - begin % capacity + capacity : begin;
  } while (!head.compare_exchange_weak(begin, from + size));
  std::memcpy(at + from % capacity, reinterpret_cast<const void*>(block), size);
  return from + 1;
}

size_t restore(uint64_t where, size_t offset, void* to, size_t size) noexcept {
  const unsigned char* const at = ring.load(std::memory_order_acquire);
  if (at == nullptr || where == 0 || offset >= kMost || !stands(where)) return 0;
  size = std::min(size, kMost - offset);
  std::memcpy(to, at + (where - 1 + offset) % capacity, size);
  if (stands(where)) return size;
  std::memset(to, 0, size);
  return 0;
}

}  // namespace poireau::tracked_alloc::keepsakes
