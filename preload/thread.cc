#include "preload/thread.h"

#include <sys/auxv.h>

#include <algorithm>
#include <atomic>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/sandbox.h"

namespace poireau {
namespace {

[[gnu::tls_model("initial-exec")]] constinit thread_local uint32_t number = 0;  // 0: not asked for yet

constexpr uint32_t kNotTheKernels = uint32_t{1} << 31;  // above all thread ids

uint32_t derived() noexcept {
  const auto address = cpu::thread_pointer();
  return static_cast<uint32_t>(scramble(address)) | kNotTheKernels;
}

constexpr size_t kPage = 4096;
constexpr size_t kFarthest = 1 << 20;  // what a single step may add

constexpr uintptr_t page_of(uintptr_t at) noexcept { return at & -kPage; }

/// What was found readable last, by thread number: the first page above, how many below. Threads may share a place:
/// what one proved holds for all, and who looks it up is on those pages.
[[gnu::section(".lbss")]] constinit std::atomic<uint64_t> proven[1024];
constexpr unsigned kCountBits = 28;

std::atomic<uint64_t>& place() noexcept { return proven[thread_number() % std::size(proven)]; }

StackPages known() noexcept {
  const uint64_t word = place().load(std::memory_order_relaxed);
  const uintptr_t begin = (word >> kCountBits) * kPage;
  return {begin, begin + (word & ((uint64_t{1} << kCountBits) - 1)) * kPage};
}

StackPages keep(StackPages pages) noexcept {
  const uint64_t count = (pages.end - pages.begin) / kPage;
  if (count >> kCountBits == 0) place().store(pages.begin / kPage << kCountBits | count, std::memory_order_relaxed);
  return pages;
}

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

bool readable_page(uintptr_t page) noexcept { return sys::readable(reinterpret_cast<const void*>(page)); }

/// What lies at the top of the stack that `sp` is on; 0: unknown. The first thread's ends with what the program was
/// given, and nothing is mapped close to it; another's with the thread's own data. A fiber's may lie so close beneath
/// that it is taken for the thread's; even then only a damaged one is read beyond its end.
uintptr_t top_of(uintptr_t sp) noexcept {
  constexpr uintptr_t kMost = 64 << 20;
  const uintptr_t top = getauxval(AT_RANDOM), own = cpu::thread_pointer();
  if (sp < top && top - sp < kMost) return top;
  return sp < own && own - sp < kMost ? own : 0;
}

/// Asks for the pages one by one; where the first is that can't be read, `end` if there is none.
uintptr_t ask_up(uintptr_t from, uintptr_t end) noexcept {
  while (from < end && readable_page(from)) from += kPage;
  return std::min(from, end);
}
uintptr_t ask_down(uintptr_t from, uintptr_t begin) noexcept {
  while (from > begin && readable_page(from - kPage)) from -= kPage;
  return from;
}

StackPages without_asking(uintptr_t sp) noexcept {
  const uintptr_t top = top_of(sp);
  return top != 0 ? StackPages{page_of(sp), page_of(top) + kPage} : StackPages{};
}

}  // namespace

uint32_t thread_number() noexcept {
  if (number != 0) return number;
  const int id = may_ask() ? sys::thread_id() : -1;
  number = id > 0 ? static_cast<uint32_t>(id) : derived();
  place().store(0, std::memory_order_relaxed);  // another's, of a stack that may be gone
  return number;
}

void forget_thread_number() noexcept { number = 0; }

StackPages stack_pages(uintptr_t sp) noexcept {
  const StackPages pages = known();
  if (pages.hold(sp)) return pages;
  if (!may_ask()) return without_asking(sp);
  const uintptr_t page = page_of(sp);
  if (page < pages.begin && pages.begin - page <= kFarthest && ask_down(pages.begin, page + kPage) == page + kPage)
    return keep({page, pages.end});
  return keep({page, page + kPage});
}

StackPages stack_pages_at(uintptr_t sp) noexcept {
  const StackPages pages = known();
  if (pages.hold(sp)) return pages;
  if (may_ask()) return readable_page(page_of(sp)) ? stack_pages(sp) : StackPages{};
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  const StackPages ours = without_asking(here);
  return sp > here && ours.hold(sp) ? ours : StackPages{};
}

bool reach(StackPages& pages, uintptr_t end) noexcept {
  if (end <= pages.end) return true;
  if (end - pages.end > kFarthest) return false;
  if (!may_ask()) {
    pages.end = std::max(pages.end, without_asking(pages.end - 1).end);
    return end <= pages.end;
  }
  const uintptr_t wanted = page_of(end + kPage - 1);
  const uintptr_t got = ask_up(pages.end, wanted);
  if (got != pages.end) pages = keep({pages.begin, got});
  return got == wanted;
}

bool may_grow_down(uintptr_t sp, size_t bytes) noexcept {
  return may_ask() && top_of(sp) != 0 && ask_down(page_of(sp) + kPage, page_of(sp - bytes)) == page_of(sp - bytes);
}

bool room_on_stack(size_t bytes) noexcept {
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  StackPages pages = known();
  if (pages.hold(here) && here - pages.begin >= bytes) return true;
  if (!may_ask()) return true;
  pages = stack_pages(here);
  const uintptr_t lowest = page_of(here - bytes);
  const uintptr_t got = ask_down(pages.begin, lowest);
  if (got < pages.begin) keep({got, pages.end});
  return got <= lowest;
}

}  // namespace poireau
