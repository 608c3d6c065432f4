#include "tracked_alloc/remap_arena.h"

#include <algorithm>

#include "preload/base/sys.h"
#include "tracked_alloc/pages.h"
#include "tracked_alloc/proc.h"

namespace poireau::tracked_alloc::remap::arena {
namespace {

constexpr size_t kPage = region::kPage;
constexpr size_t kStep = size_t{8} << 20;  // the anchor is accessible in steps of so much: mlockall fills what is
constexpr size_t kLeast = size_t{1} << 20;
constexpr size_t kMostArena = size_t{512} << 30;

constinit std::atomic<size_t> size{0}, used{0}, accessible{0};
constinit std::atomic<uint64_t> mapped{0}, mapped_pages{0}, most_mappings{0}, most_pages{0};
constinit std::atomic<Dump> dumped{Dump::blocks};
constinit std::atomic<bool> no_more{false};
constinit size_t copied = 0;  // bytes of the copy that are accessible, those that are when it is made
constinit bool copy_is_there = false;
constinit int copy_file = -1;

void* pointer(uintptr_t at) noexcept { return reinterpret_cast<void*>(at); }

/// What the limit on addresses leaves us, in pages.
uint64_t pages_left() noexcept {
  uint64_t most, pages = 0;
  if (!sys::limit_of(sys::Limit::address_space, most) || most == UINT64_MAX) return UINT64_MAX;
  if (!proc::read_number("/proc/self/statm", "", 0, pages)) return 0;
  const uint64_t all = most / kPage;
  return (all - std::min(all, pages)) / 4 * 3;
}

uint64_t mappings_left() noexcept {
  constexpr uint64_t kUsual = 65530;
  uint64_t most;
  if (!proc::read_number("/proc/sys/vm/max_map_count", "", 0, most)) most = kUsual;
  return most / 8 * 7 - std::min<uint64_t>(most / 8 * 7, 256);  // what a program has before us, roughly
}

size_t best_size(size_t most) noexcept {
  uint64_t file = UINT64_MAX;
  if (!sys::limit_of(sys::Limit::file_size, file)) return 0;
  const uint64_t memory = sys::memory_size(sys::Memory::physical);
  uint64_t best = most != 0 ? most : memory != UINT64_MAX ? 2 * memory : size_t{1} << 30;
  if (most_pages.load(std::memory_order_relaxed) != UINT64_MAX)
    best = std::min(best, most_pages.load(std::memory_order_relaxed) * kPage / 16);
  best = std::min({best, file, uint64_t{kMostArena}}) / kPage * kPage;
  return best;
}

/// A new file of this size, mapped closed. Returns its descriptor; -1: there is none.
int map_anchor(uintptr_t at, size_t bytes) noexcept {
  const int file = sys::memory_file();
  if (file < 0) return -1;
  if (sys::resize(file, bytes) == 0 && sys::map_file_closed_at(file, pointer(at), bytes) != nullptr) {
    static_cast<void>(sys::unlock(pointer(at), bytes));  // before it can be touched
    if (sys::advise(pointer(at), bytes, sys::Advice::never_dump) == 0) return file;
    sys::unmap(pointer(at), bytes);
  }
  sys::close(file);
  return -1;
}

bool dumps(Dump what) noexcept { return dumped.load(std::memory_order_relaxed) == what; }

/// The anchor's part that is in use is in core dumps, if it is to be. What is mapped from it is then, too, at first.
void dump_anchor(size_t bytes) noexcept {
  if (dumps(Dump::arena)) static_cast<void>(sys::advise(pointer(kAnchor), bytes, sys::Advice::dump));
}

bool make_accessible(uintptr_t anchor, size_t end) noexcept { return sys::protect(pointer(anchor), end, true) == 0; }

bool reach(size_t end) noexcept {
  size_t now = accessible.load(std::memory_order_acquire);
  if (end <= now) return true;
  const size_t wanted = std::min((end + kStep - 1) / kStep * kStep, size.load(std::memory_order_relaxed));
  if (sealed() || !make_accessible(kAnchor, wanted)) return false;
  dump_anchor(wanted);
  while (now < wanted && !accessible.compare_exchange_weak(now, wanted, std::memory_order_release)) {
  }
  return true;
}

}  // namespace

bool begin(size_t most, Dump dump) noexcept {
  dumped.store(dump, std::memory_order_relaxed);
  most_pages.store(pages_left(), std::memory_order_relaxed);
  most_mappings.store(mappings_left(), std::memory_order_relaxed);
  const size_t bytes = best_size(most);
  if (bytes < std::min(kLeast, most == 0 ? kLeast : most) || !take_mapping(bytes / kPage)) return false;
  const int file = map_anchor(kAnchor, bytes);
  if (file < 0) return false;
  sys::close(file);
  size.store(bytes, std::memory_order_release);
  return true;
}

size_t take(unsigned shift) noexcept {
  const size_t bytes = kPage << shift;
  size_t at = used.load(std::memory_order_relaxed);
  do {
    if (bytes > size.load(std::memory_order_relaxed) - at || !reach(at + bytes)) return SIZE_MAX;
  } while (!used.compare_exchange_weak(at, at + bytes, std::memory_order_relaxed));
  return at;
}

bool show(size_t offset, size_t pages, uintptr_t at) noexcept {
  if (sealed() || !sys::show_also(pointer(kAnchor + offset), pages * kPage, pointer(at))) return false;
  if (!dumps(Dump::none))
    static_cast<void>(
        sys::advise(pointer(at), pages * kPage, dumps(Dump::blocks) ? sys::Advice::dump : sys::Advice::never_dump));
  return true;
}

bool drop(size_t offset, size_t pages) noexcept {
  if (sealed()) return false;
  void* const at = pointer(kAnchor + offset);
  if (sys::advise(at, pages * kPage, sys::Advice::remove) == 0) return true;
  return sys::unlock(at, pages * kPage) == 0 && sys::advise(at, pages * kPage, sys::Advice::remove) == 0;
}

bool has(size_t offset) noexcept {
  bool there = true;
  return sys::is_in_memory(pointer(kAnchor + offset / kPage * kPage), there) != 0 || there;
}

bool swaps() noexcept { return sys::memory_size(sys::Memory::swap) != 0; }

bool make_copy() noexcept {
  const size_t bytes = size.load(std::memory_order_relaxed);
  if (sealed()) return false;
  copied = accessible.load(std::memory_order_relaxed);
  copy_file = map_anchor(kCopy, bytes);
  copy_is_there = copy_file >= 0;
  if (copy_is_there && copied != 0 && !make_accessible(kCopy, copied)) {
    end_copy();
    drop_copy();
  }
  return copy_is_there;
}

bool fill_copy(size_t offset, size_t bytes) noexcept {
  if (offset + bytes > copied) return false;
  return sys::write_at(copy_file, offset, {reinterpret_cast<const char*>(read(offset)), bytes}) == 0;
}

void end_copy() noexcept {
  sys::close(copy_file);
  copy_file = -1;
}

bool has_copy() noexcept { return copy_is_there; }

void drop_copy() noexcept {
  if (!copy_is_there) return;
  sys::unmap(pointer(kCopy), size.load(std::memory_order_relaxed));
  copy_is_there = false;
}

bool adopt_copy() noexcept {
  const size_t bytes = size.load(std::memory_order_relaxed);
  // Two mappings, each moved as a whole.
  if (copied != 0 && !sys::move(pointer(kCopy), copied, pointer(kAnchor))) return false;
  copy_is_there = false;
  dump_anchor(copied);
  accessible.store(copied, std::memory_order_relaxed);
  return copied == bytes || sys::move(pointer(kCopy + copied), bytes - copied, pointer(kAnchor + copied));
}

bool take_mapping(size_t pages) noexcept {
  const uint64_t count = mapped.fetch_add(1, std::memory_order_relaxed);
  const uint64_t all = mapped_pages.fetch_add(pages, std::memory_order_relaxed) + pages;
  if (count < most_mappings.load(std::memory_order_relaxed) && all <= most_pages.load(std::memory_order_relaxed))
    return true;
  give_mapping_back(pages);
  return false;
}

void give_mapping_back(size_t pages) noexcept {
  mapped.fetch_sub(1, std::memory_order_relaxed);
  mapped_pages.fetch_sub(pages, std::memory_order_relaxed);
}

uint64_t mappings() noexcept { return mapped.load(std::memory_order_relaxed); }

bool sealed() noexcept { return no_more.load(std::memory_order_relaxed) || pages::sealed() != pages::Seal::none; }
void seal(bool wanted) noexcept { no_more.store(wanted, std::memory_order_relaxed); }

}  // namespace poireau::tracked_alloc::remap::arena
