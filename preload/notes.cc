#include "preload/notes.h"

#include "preload/depot.h"
#include "tracked_alloc/records.h"

namespace poireau::notes {

namespace records = tracked_alloc::records;
using tracked_alloc::Block;

Note of_stack(Kind kind, uint32_t stack) noexcept {
  return kHasStack | Note{static_cast<uint8_t>(kind)} << kKindAt | stack;
}

uint32_t stack_of(Note note) noexcept {
  if ((note & kHasStack) != 0) return static_cast<uint32_t>(note);
  if (records::is_sample(note)) return 0;
  const uintptr_t caller = unpack(note);
  return caller == 0 ? 0 : depot::intern({&caller, 1});
}

void look_up(Block& block) noexcept {
  block.kind = block.born == 0 ? kForgotten : static_cast<uint8_t>(kind_of(block.born));
  block.birth.stack = stack_of(block.born);
  if (!block.live) block.death.stack = stack_of(block.died);
  tracked_alloc::region::Id id;
  Block known;
  if (!records::id_of(block.born, id) || !records::find(id, block.address, known)) return;
  block.size = known.size;
  block.alignment_log2 = known.alignment_log2;
  block.birth = known.birth;
  if (!block.live && !known.live) block.death = known.death;
}

}  // namespace poireau::notes
