#include "tracked_alloc/pages.h"

#include <array>
#include <atomic>
#include <cerrno>

#include "tracked_alloc/pages_steps.h"
#include "tracked_alloc/tracked_alloc.h"

namespace poireau::tracked_alloc::pages {
namespace {

constexpr uintptr_t kChunk = uintptr_t{2} << 20;

constinit std::atomic<bool> undumped{false}, filtered{false};
constinit std::atomic<Seal> state{Seal::none};

/// As much of our region as is mapped at once: page by page, each would become a mapping of its own. Elsewhere the
/// pages around may be the program's, and locked for a reason.
bool unlock(void* at, size_t size) noexcept {
  const uintptr_t first = reinterpret_cast<uintptr_t>(at);
  const uintptr_t begin = first / kChunk * kChunk, end = (first + size + kChunk - 1) / kChunk * kChunk;
  const bool inside = begin >= kRegion && end <= kRegion + kRegionSize;
  if (inside && sys::unlock(reinterpret_cast<void*>(begin), end - begin) == 0) return true;
  return sys::unlock(at, size) == 0;
}

/// A large block is refused where malloc would be: many small homes will never be needed all at once.
sys::Backing backing_of(bool small_homes) noexcept { return small_homes ? sys::Backing::none : sys::Backing::expected; }

}  // namespace

bool allowed(Allowed what) noexcept {
  if (sealed() == Seal::strict) return what == Allowed::nothing;
  if (sealed() == Seal::filtered) return what >= Allowed::giving_back;
  return what != Allowed::everything || !filtered.load(std::memory_order_relaxed);
}

void set_environment(bool dump, bool open) noexcept {
  undumped.store(!dump, std::memory_order_relaxed);
  filtered.store(!open, std::memory_order_relaxed);
}

Seal seal(Seal wanted) noexcept { return state.exchange(wanted, std::memory_order_relaxed); }
Seal sealed() noexcept { return state.load(std::memory_order_relaxed); }

bool claim(void* at, size_t size, bool small_homes) noexcept {
  if (!allowed(Allowed::mapping) || sys::map_closed_at(at, size, backing_of(small_homes)) == nullptr) return false;
  if (!allowed(Allowed::everything)) return true;
  const auto advised = [&](bool wanted, sys::Advice advice) {
    if (!wanted) return true;
    const int error = sys::advise(at, size, advice);
    return error == 0 || error == EINVAL;  // a kernel that knows no huge pages
  };
  if (sys::unlock(at, size) == 0 && advised(small_homes, sys::Advice::never_huge) &&
      advised(undumped.load(std::memory_order_relaxed), sys::Advice::never_dump))
    return true;
  sys::unmap(at, size);
  return false;
}

bool protect(void* at, size_t size, bool accessible) noexcept {
  return allowed(Allowed::mapping) && sys::protect(at, size, accessible) == 0;
}

bool apply(void* at, size_t size, sys::Advice advice) noexcept {
  if (!allowed(advice == sys::Advice::forget ? Allowed::giving_back : Allowed::everything)) return false;
  const int error = sys::advise(at, size, advice);
  if (error != EINVAL || !allowed(Allowed::everything)) return error == 0;
  return unlock(at, size) && sys::advise(at, size, advice) == 0;
}

bool map_plain(void* at, size_t size, bool small_homes) noexcept {
  // With all rights from the start, mlockall would have the pages made now. A filter leaves no better way.
  if (!allowed(Allowed::everything))
    return allowed(Allowed::mapping) && sys::map_at(at, size, backing_of(small_homes)) != nullptr;
  if (!claim(at, size, small_homes)) return false;
  if (protect(at, size, true)) return true;
  sys::unmap(at, size);
  return false;
}

bool replace(void* page, void* filled) noexcept {
  constexpr uint32_t kMost = 1024;
  static constinit std::atomic<uint32_t> replaced{0};
  if (!allowed(Allowed::everything) || replaced.fetch_add(1, std::memory_order_relaxed) >= kMost) return false;
  return sys::move(filled, kPage, page);
}

bool drop(void* at, size_t size) noexcept { return apply(at, size, sys::Advice::forget); }

bool unmap(void* at, size_t size) noexcept { return allowed(Allowed::giving_back) && sys::unmap(at, size); }

bool try_out(const Guards& guards) noexcept {
  constexpr size_t kSize = 2 * kPage;
  if (!allowed(Allowed::mapping)) return false;
  void* const at = sys::map(kSize);
  if (at == nullptr) return false;
  // The place is free again, and with nobody else about it stays so.
  if (!sys::unmap(at, kSize) || !guards.map(at, kSize)) return false;
  void* const second = static_cast<char*>(at) + kPage;
  const bool works = !sys::readable(at) && guards.open(at, kPage) && sys::readable(at) && !sys::readable(second) &&
                     guards.close(at, kPage) && !sys::readable(at);
  return sys::unmap(at, kSize) && works;
}

const Guards& choose(Mechanism wanted, bool open) noexcept {
  // Whatever a filter thinks of mprotect, the loader has called it by now.
  if (!open) return wanted == Mechanism::automatic || wanted == Mechanism::mprotect ? kMprotect : kNone;
  for (const Guards* guards : {&kMarkers, &kUserfaultfd, &kMprotect})
    if ((wanted == Mechanism::automatic || wanted == guards->mechanism) && guards->probe()) return *guards;
  return kNone;
}

const char* name_of(Mechanism mechanism) noexcept {
  constexpr std::array kNames{"automatic", "markers", "userfaultfd", "mprotect", "none"};
  return kNames[static_cast<size_t>(mechanism)];
}

}  // namespace poireau::tracked_alloc::pages
