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

/// What a probed function is given besides numbers.
struct Given {
  void* block = nullptr;  // one of the allocator's, for those that resize
  Heap heap = nullptr;
};

template <typename Argument>
Argument example(const Given& given) noexcept {
  if constexpr (std::is_same_v<Argument, void*>)
    return given.block;
  else if constexpr (std::is_same_v<Argument, Heap>)
    return given.heap;
  else
    return Example();
}

/// Bytes counted while `function` serves a small request. Only for functions of the allocator that `malloc` and `free`
/// reach, or of the C++ runtime over it.
template <typename... Arguments>
uint64_t counted_by(void* (*function)(Arguments...), Heap heap = nullptr) noexcept {
  const bool resizes = std::disjunction_v<std::is_same<Arguments, void*>...>;
  Given given{nullptr, heap};
  if (resizes) counted_during([&] { given.block = malloc(kExample); });  // the allocator's own, no sample
  return counted_during([&] { free(function(example<Arguments>(given)...)); });
}
inline uint64_t counted_by(int (*function)(void**, size_t, size_t), Heap = nullptr) noexcept {
  return counted_during([&] {
    void* block = nullptr;
    if (function(&block, kExample, kExample) == 0) free(block);
  });
}

}  // namespace poireau::reentry
