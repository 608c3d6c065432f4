#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

/// All the memory in which the program may keep a pointer, while it stands still. Not shown: remapped blocks (marks.h).
namespace poireau::sweep {

/// A mapping, of which pieces are shown.
struct Area {
  enum class Kind : uint8_t { memory, block, kernel } kind;  // block: a sampled one. kernel: words that it keeps
  uintptr_t begin = 0, end = 0;
  bool shared = false, file = false;
};

/// `bytes`: what is at `at`, or a copy of it.
using Show = void (*)(void* to, const Area& area, uintptr_t at, std::span<const std::byte> bytes) noexcept;

/// False: some of it can't be looked through. One at a time.
[[nodiscard]] bool show_memory(Show show, void* to) noexcept;

}  // namespace poireau::sweep
