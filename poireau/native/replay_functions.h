#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "poireau/native/replay_calls.h"

/// The allocator's functions, and which of them stands for a recorded one.
namespace poireau::replay {

enum class How : uint8_t {
  malloc,
  calloc,
  memalign,
  aligned_alloc,
  posix_memalign,
  valloc,
  pvalloc,
  scalar_new,
  array_new,
  aligned_scalar_new,
  aligned_array_new,
  realloc,
  reallocarray,
  free,
  scalar_delete,
  array_delete,
};

/// `instead`: the name of what is called instead, where that is another one; nullptr: it is the same.
struct Stand {
  How how;
  const char* instead;
};
[[nodiscard]] Stand stand_for(const Function& function) noexcept;

/// The file whose malloc this is, or nullptr. `lacks`: the first of malloc, calloc, realloc and free that comes from
/// elsewhere, or nullptr.
[[nodiscard]] const char* allocator(const char*& lacks) noexcept;

}  // namespace poireau::replay
