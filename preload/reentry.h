#pragma once
#include <cstdlib>

#include "preload/real.h"
#include "preload/sampler.h"

/// Some allocators' functions call others of their functions by name, and so come by our hooks twice. Which ones do
/// depends on how they were built, so each is tried once, at load, and watched.
namespace poireau::reentry {

constexpr size_t kExample = 64;  // good as a size, a count, an alignment and an offset alike

struct Example {
  operator size_t() const noexcept { return kExample; }
  operator int() const noexcept { return 0; }
  operator Nothrow() const noexcept { return &kExample; }
};

/// Bytes that the hooks counted while `call` ran.
template <typename Call>
uint64_t counted_during(Call&& call) noexcept {
  constexpr uint64_t kPlenty = uint64_t{1} << 40;
  const uint64_t before = cpu::load_thread_word(gap_offset);
  cpu::store_thread_word(gap_offset, kPlenty);
  call();
  const uint64_t after = cpu::load_thread_word(gap_offset);
  cpu::store_thread_word(gap_offset, before);
  return kPlenty - after;
}

template <typename Argument>
Argument example(Heap heap) noexcept {
  if constexpr (std::is_same_v<Argument, Heap>)
    return heap;
  else if constexpr (std::is_same_v<Argument, void*> || std::is_same_v<Argument, void**>)
    return nullptr;
  else
    return Example();
}

/// Bytes counted while `function` serves a small request. Only for functions of an allocator or of the C++ runtime.
template <typename... Arguments>
uint64_t counted_by(void* (*function)(Arguments...), Heap heap = nullptr) noexcept {
  return counted_during([&] { free(function(example<Arguments>(heap)...)); });
}
inline uint64_t counted_by(int (*function)(void**, size_t, size_t), Heap = nullptr) noexcept {
  return counted_during([&] {
    void* block = nullptr;
    if (function(&block, kExample, kExample) == 0) free(block);
  });
}

}  // namespace poireau::reentry
