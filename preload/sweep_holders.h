#pragma once
#include <cstdint>
#include <span>

#include "preload/sweep.h"

/// Who points at dead remapped blocks, wherever these were: another sweep, that notes where the words are.
namespace poireau::sweep {

struct Holder {
  uintptr_t block, at;  // at: the word's address; 0: the kernel keeps it
  uint64_t word;
};
constexpr size_t kMostHolders = 8192;

/// Holders of one block: so many, from `first` on.
struct Group {
  uint32_t first, count;
};

struct Held {
  Outcome outcome = Outcome::busy;
  std::span<const Holder> holders{};  // by block
  std::span<const Group> groups{};    // those with the most holders first
  uint64_t left_out = 0;              // words that there was no room for
  uint64_t bytes = 0;                 // looked through
};
/// What it returns is there until the next call. One at a time: busy.
[[nodiscard]] Held find_holders() noexcept;

}  // namespace poireau::sweep
