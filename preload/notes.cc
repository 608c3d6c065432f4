#include "preload/notes.h"

#include "preload/depot.h"

namespace poireau::notes {

Note of_stack(Kind kind, uint32_t stack) noexcept {
  return kHasStack | Note{static_cast<uint8_t>(kind)} << kKindAt | stack;
}

uint32_t stack_of(Note note) noexcept {
  if ((note & kHasStack) != 0) return static_cast<uint32_t>(note);
  const uintptr_t caller = unpack(note);
  return caller == 0 ? 0 : depot::intern({&caller, 1});
}

void look_up(tracked_alloc::Block& block) noexcept {
  block.kind = block.born == 0 ? kForgotten : static_cast<uint8_t>(kind_of(block.born));
  block.birth.stack = stack_of(block.born);
  if (!block.live) block.death.stack = stack_of(block.died);
}

}  // namespace poireau::notes
