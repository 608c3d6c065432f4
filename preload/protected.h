#pragma once
#include "preload/protect.h"
#include "preload/real.h"
#include "preload/shapes.h"

/// What the hooks jump to where blocks that are not sampled are protected (protect.h), by the shape of a row. They are
/// jumped to, so their return addresses are the program's. What they don't serve is served by what they stand before.

#define PROTECTED_allocate(name, result, parameters, arguments, bytes, alignment)                    \
  static result protected_##name parameters {                                                        \
    void* const home = protect::allocate(Kind::name, bytes, alignment, __builtin_return_address(0)); \
    if (home != nullptr) [[likely]]                                                                  \
      return static_cast<result>(home);                                                              \
    return beneath.name arguments;                                                                   \
  }
#define PROTECTED_resize(name, result, parameters, arguments, bytes, alignment)                            \
  static result protected_##name parameters {                                                              \
    void* const home = protect::move_in({Kind::name, bytes, alignment, __builtin_return_address(0)}, ptr); \
    if (home != nullptr) [[likely]]                                                                        \
      return home;                                                                                         \
    return beneath.name arguments;                                                                         \
  }
#define PROTECTED_store(name, result, parameters, arguments, bytes, alignment_)                             \
  static result protected_##name parameters {                                                               \
    void* const home = (alignment_) % sizeof(void*) != 0                                                    \
                           ? nullptr                                                                        \
                           : protect::allocate(Kind::name, bytes, alignment_, __builtin_return_address(0)); \
    if (home == nullptr) return beneath.name arguments;                                                     \
    *out = home;                                                                                            \
    return 0;                                                                                               \
  }
#define PROTECTED_release(name, result, parameters, arguments, bytes, alignment)                                 \
  static result protected_##name parameters {                                                                    \
    if (!protect::is_no_block(ptr, name_of(Release::name), __builtin_return_address(0))) beneath.name arguments; \
  }
#define PROTECTED_ask(...)
#define PROTECTED_other(...)

namespace poireau::protect {

/// Puts `ours` into a row of `real`, or what was there before.
template <typename Form>
void put_into(Form*& row, Form* ours, Form* below, bool on) noexcept {
  if (on && below != nullptr) __atomic_store_n(&row, ours, __ATOMIC_RELEASE);
  if (!on && row == ours) __atomic_store_n(&row, below, __ATOMIC_RELEASE);
}

}  // namespace poireau::protect

// What comes by us again is protected there, not twice.
#define ARM_ROW(name) protect::put_into(real.name, &protected_##name, beneath.name, on);
#define ARM_allocate(name) \
  if (real.name != through_##name) ARM_ROW(name)
#define ARM_resize ARM_allocate
#define ARM_store ARM_allocate
#define ARM_release ARM_ROW
#define ARM_ask(name)
#define ARM_other(name)
