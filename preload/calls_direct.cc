#include "preload/calls.h"

// As real_direct.cc: the linker decides who is next.

#define CALL(name, ...) extern "C" void next_##name() __asm__(#name);
#include "preload/syscalls.def"
#undef CALL

void poireau::calls::resolve() noexcept {
  static constexpr void (*kNext[])() = {
#define CALL(name, ...) next_##name,
#include "preload/syscalls.def"
#undef CALL
  };
  for (size_t number = 0; number < kCalls; ++number) poireau_calls[number] = reinterpret_cast<Function>(kNext[number]);
}
