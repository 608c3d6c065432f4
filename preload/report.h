#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "preload/kinds.h"
#include "tracked_alloc/verdict.h"

/// What is said about a memory error. Each once a stack; written with write(2) alone, so that it can be said anywhere.
namespace poireau::report {

enum class Error : uint8_t {
  use_after_free,
  overflow,
  underflow,
  wild_access,
  double_free,
  invalid_free,      // inside a block, or where none is
  resize_of_freed,   // realloc of a freed block
  wrong_function,    // new given to free, malloc to delete[], ...
  wrong_size,        // a sized delete with another size
  short_overflow,    // bytes changed behind or before a block, found later
  write_after_free,  // bytes changed in a freed block, found later
};

enum class Access : uint8_t { unknown, read, write, execute };

struct Report {
  Error error;
  Access access = Access::unknown;
  uintptr_t address = 0;                        // touched, freed, or first changed
  const tracked_alloc::Block* block = nullptr;  // nullptr: none is known
  std::string_view function{};             // that found it or was called wrongly ("free", "operator delete[]", "read")
  size_t given_size = 0;                   // wrong_size: the size given
  std::span<const unsigned char> found{};  // short_overflow, write_after_free: the bytes that were changed
  const void* context = nullptr;           // the fault handler's ucontext_t
  const void* caller = nullptr;            // of `function`, if known: the stack begins there
};

/// Says it, unless it has been said for this stack. With on_error = abort it does not return. errno is kept.
void tell(const Report& report) noexcept;

/// Errors met so far, said or not.
[[nodiscard]] uint64_t errors() noexcept;

}  // namespace poireau::report
