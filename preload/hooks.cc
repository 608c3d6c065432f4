#include "preload/hooks.h"

#include "preload/module.h"
#include "preload/protected.h"
#include "preload/reentry.h"
#include "preload/shapes.h"

using namespace poireau;

#define LIBC_ROW(shape, library, ...) SHAPE_##shape(__VA_ARGS__) PROTECTED_##shape(__VA_ARGS__)
#include "preload/rows.h"

namespace poireau::hooks {
namespace {

void* reallocarray_over_realloc(void* ptr, size_t count, size_t size) noexcept {
  size_t bytes;
  if (!__builtin_mul_overflow(count, size, &bytes)) return unprotected().realloc(ptr, bytes);
  errno = ENOMEM;
  return nullptr;
}

/// Whether this is the allocator's, and asks it for memory through others that we see.
template <typename Form>
[[gnu::cold, gnu::noinline]] bool comes_back(Form* function) noexcept {
  return map_of(function) == map_of(next.malloc) && reentry::counted_by(function) != 0;
}

}  // namespace

[[gnu::cold]] void complete() noexcept {
  real = next;
  real.malloc_usable_size = owned_malloc_usable_size;
  // glibc's own calls realloc by name, which would count it twice.
  if (next.reallocarray == nullptr || map_of(next.reallocarray) == map_of(next.prctl))
    real.reallocarray = reallocarray_over_realloc;
  if (next.cfree == nullptr) real.cfree = next.free;
  if (next.free_sized == nullptr) real.free_sized = as<decltype(real.free_sized)>(next.free);
  if (next.free_aligned_sized == nullptr) real.free_aligned_sized = as<decltype(real.free_aligned_sized)>(next.free);
}

[[gnu::cold]] void route() noexcept {
  if (map_of(next.malloc) == map_of(next.prctl)) return;  // libc's own never come back
#define ROUTE_allocate(name) \
  if (comes_back(next.name)) real.name = through_##name;
#define ROUTE_resize(name) \
  if (real.name == next.name) ROUTE_allocate(name)
#define ROUTE_store ROUTE_allocate
#define ROUTE_release(name)
#define ROUTE_ask(name)
#define ROUTE_other(name)
#define LIBC_ROW(shape, library, name, ...) ROUTE_##shape(name)
#include "preload/rows.h"
}

[[gnu::cold]] void protect(bool on) noexcept {
  if (on) {
    beneath = real;
    __atomic_store_n(&plain, &beneath, __ATOMIC_RELEASE);
  }
#define LIBC_ROW(shape, library, name, ...) ARM_##shape(name)
#include "preload/rows.h"
}

}  // namespace poireau::hooks
