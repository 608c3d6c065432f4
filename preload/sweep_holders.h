#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "preload/sweep.h"
#include "tracked_alloc/remap.h"

/// Who points at the dead blocks that the last sweep has kept: another sweep, that notes where the words are.
namespace poireau::sweep {

struct Holder {
  enum class Where : uint8_t { stack, data, heap, home, kernel } where;
  uint32_t block;  // which one of those kept
  uintptr_t at;    // the word's address; kernel: 0
  uint64_t word;
  uintptr_t begin;  // of the mapping, or of the block that it is in
  int thread;       // whose stack; 0: not known
  char name[44];    // the mapping's, or its end
};
constexpr size_t kMostBlocks = 256, kMostHolders = 1024, kMostOfBlock = 8;

struct Held {
  Outcome outcome;
  std::span<const tracked_alloc::remap::Block> blocks;
  std::span<const Holder> holders;  // by block
  uint64_t left_out;                // holders of these blocks
};
/// What it returns is there until the next call. One at a time: busy.
[[nodiscard]] Held find_holders() noexcept;

}  // namespace poireau::sweep
