#include "tracked_alloc/pages_steps.h"

/// Guard markers, Linux 6.13: notes in the page tables, so that any number of guards lies in one mapping.
namespace poireau::tracked_alloc::pages {
namespace {

bool probe() noexcept { return try_out(kMarkers); }

bool mark(void* at, size_t size) noexcept { return apply(at, size, sys::Advice::guard); }

bool map(void* at, size_t size) noexcept {
  if (!claim(at, size, true)) return false;
  // Closed all the time, unless the kernel marks writable pages only.
  if (mark(at, size) ? protect(at, size, true) : protect(at, size, true) && mark(at, size)) return true;
  sys::unmap(at, size);
  return false;
}

bool open(void* at, size_t size) noexcept { return apply(at, size, sys::Advice::unguard); }

bool close(void* at, size_t size) noexcept {
  if (mark(at, size)) return true;
  static_cast<void>(open(at, size));  // out of memory halfway
  return false;
}

bool map_again(void*, size_t) noexcept { return true; }  // fork copies markers

}  // namespace

constinit const Guards kMarkers{Mechanism::markers, probe, map, open, close, map_again, SIZE_MAX, SIZE_MAX};

}  // namespace poireau::tracked_alloc::pages
