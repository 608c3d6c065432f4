#pragma once
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/record.h"
#include "tracked_alloc/remap.h"

/// A bad address -> whose it is, and what is wrong. Knows no stacks, no text. Lock-free: for fault handlers.
namespace poireau::tracked_alloc {

enum class Finding : uint8_t {
  not_ours,  // no home of ours anywhere near: it is somebody else's fault
  open,      // ours, and readable: the fault has another reason (execution, a write the kernel refused)
  use_after_free,
  overflow,   // behind the nearest block
  underflow,  // before it
  wild,       // in our pages, and no block was ever near
};

/// A block as it was at one moment.
struct Block {
  uintptr_t address;
  size_t size;
  uint8_t kind, alignment_log2;
  bool guarded, live;
  uint32_t guard_chance;
  Birth birth;
  Death death;  // where !live
  size_t room;  // bytes that may be used, at least `size`
  // Of a remapped block, of whom nothing else is known than size and place: the notes (remap.h).
  uint64_t born = 0, died = 0;
};

struct Verdict {
  Finding finding = Finding::not_ours;
  Block block{};         // not for not_ours and wild
  ptrdiff_t offset = 0;  // of the address from the block's first byte
};

[[nodiscard]] Verdict judge_access(uintptr_t address) noexcept;

/// Makes the page at `address` accessible with what a bare free() would have left there, for good: its homes are
/// retired. False: it can't be done (no memory, a sandbox), or it is open already.
[[nodiscard]] bool let_through(uintptr_t address) noexcept;

/// Opens the page of a live block that should have been open: the kernel took it away. False: it is no such page.
[[nodiscard]] bool reopen(uintptr_t address) noexcept;

/// A remapped block, as far as that goes.
[[nodiscard]] Block describe(const remap::Block& block) noexcept;

}  // namespace poireau::tracked_alloc
