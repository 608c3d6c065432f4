#include <sys/syscall.h>
#include <unistd.h>

#include "tracked_alloc/region.h"

/// ThreadSanitizer maps all addresses that a program is not to use. It has shadow for these nevertheless (GCC 12).
namespace poireau::tracked_alloc::region {
namespace {

[[gnu::constructor]] void make_room() {
  syscall(SYS_munmap, kRemapTables, kRemapTablesSize + kRemapSize);
  static_assert(kRemapTables + kRemapTablesSize == kRemap);
}

}  // namespace
}  // namespace poireau::tracked_alloc::region
