#include <cerrno>

#include "preload/base/sys.h"
#include "tracked_alloc/pages.h"
#include "tracked_alloc/remap_engine.h"

/// userfaultfd, Linux 5.14: pages that a watched mapping hasn't got raise SIGBUS, though the memory is there.
namespace poireau::tracked_alloc::remap::engines {
namespace {

// All of its pages are to be there first: whatever is missing afterwards counts as closed.
bool enter(void* at, size_t size) noexcept {
  return sys::advise(at, size, sys::Advice::populate) == 0 && pages::ask_watcher(sys::watch_shared, at, size) == 0;
}

bool close(void* at, size_t size) noexcept { return pages::drop(at, size); }

bool open(void* at, size_t size) noexcept {
  const int error = pages::ask_watcher(sys::proceed, at, size);
  return error == 0 || error == EEXIST;
}

bool leave(void* at, size_t size) noexcept { return pages::ask_watcher(sys::unwatch, at, size) == 0; }

}  // namespace

// A mapping that is moved becomes one with its neighbours where they fit, and the kernel stops watching all of it.
constinit const Kind kUserfaultfd{Engine::userfaultfd, enter, close, open, leave, false};

}  // namespace poireau::tracked_alloc::remap::engines
