#include "preload/base/sys.h"
#include "tracked_alloc/remap_engine.h"

/// Guard markers, in shared memory since Linux 6.15: a note in the page table of this mapping alone.
namespace poireau::tracked_alloc::remap::engines {
namespace {

bool apply(void* at, size_t size, sys::Advice advice) noexcept {
  if (sys::advise(at, size, advice) == 0) return true;
  return sys::unlock(at, size) == 0 && sys::advise(at, size, advice) == 0;  // after an mlockall
}

bool enter(void*, size_t) noexcept { return true; }
bool close(void* at, size_t size) noexcept { return apply(at, size, sys::Advice::guard); }
bool open(void* at, size_t size) noexcept { return apply(at, size, sys::Advice::unguard); }

}  // namespace

constinit const Kind kMarkers{Engine::markers, enter, close, open, open, true};

}  // namespace poireau::tracked_alloc::remap::engines
