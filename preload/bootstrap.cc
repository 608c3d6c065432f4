#include "preload/bootstrap.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/region.h"

namespace poireau::bootstrap {
namespace {

constexpr size_t kArena = 1 << 20;
constexpr size_t kPage = 4096;

struct Header {
  uintptr_t previous_top;
  size_t size;
};
static_assert(sizeof(Header) == alignof(max_align_t));

constinit std::atomic<uintptr_t> arena{0};  // 0: not mapped yet
constinit std::atomic<uintptr_t> top{0};    // end of the newest block; 0: none yet

Header* header_of(const void* ptr) noexcept { return static_cast<Header*>(const_cast<void*>(ptr)) - 1; }

/// Where the arena is, mapped by whoever comes first; 0 if nowhere.
uintptr_t open() noexcept {
  if (const uintptr_t at = arena.load(std::memory_order_acquire); at != 0) return at;
  for (uint64_t attempt = 0; attempt < 4; ++attempt) {  // an unpredictable place; a stranger may sit there
    const uint64_t pages = (tracked_alloc::region::kArenaSize - kArena) / kPage;
    const uint64_t page = multiply_high(pages, scramble(cpu::ticks() + attempt));
    void* got = sys::map_at(reinterpret_cast<void*>(tracked_alloc::region::kArena + page * kPage), kArena);
    if (got == nullptr) continue;
    uintptr_t first = 0;
    if (arena.compare_exchange_strong(first, reinterpret_cast<uintptr_t>(got))) break;
    sys::unmap(got, kArena);
    break;
  }
  return arena.load(std::memory_order_acquire);
}

}  // namespace

void* allocate(size_t size, size_t alignment) noexcept {
  const uintptr_t begin = open();
  if (begin == 0 || size > kArena || alignment > kArena) return nullptr;
  alignment = std::max(alignment, alignof(max_align_t));
  uintptr_t before = top.load(), place, after;
  do {
    place = ((before == 0 ? begin : before) + sizeof(Header) + alignment - 1) / alignment * alignment;
    after = place + size;
    if (after > begin + kArena) return nullptr;
  } while (!top.compare_exchange_weak(before, after));
  *header_of(reinterpret_cast<void*>(place)) = {before, size};
  cpu::fill_zero(reinterpret_cast<void*>(place), size);  // a released block left its bytes
  return reinterpret_cast<void*>(place);
}

bool contains(const void* ptr) noexcept {
  const uintptr_t begin = arena.load(std::memory_order_acquire);
  return begin != 0 && reinterpret_cast<uintptr_t>(ptr) - begin < kArena;
}

size_t size_of(const void* ptr) noexcept { return header_of(ptr)->size; }

void release(void* ptr) noexcept {
  const Header header = *header_of(ptr);
  uintptr_t end = reinterpret_cast<uintptr_t>(ptr) + header.size;
  top.compare_exchange_strong(end, header.previous_top);
}

}  // namespace poireau::bootstrap
