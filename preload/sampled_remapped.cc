#include "preload/sampled_remapped.h"

#include <algorithm>
#include <bit>

#include "config/options.h"
#include "preload/clock.h"
#include "preload/journal.h"
#include "preload/sampled_blocks.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "tracked_alloc/records.h"

namespace poireau::sampled::remapped {

using namespace tracked_alloc;

bool wanted() noexcept { return options.placement.load(std::memory_order_relaxed) == poireau::Placement::remap; }

void* place(const Request& request, const Wanted& what) noexcept {
  const size_t room = std::max(what.size, what.room);
  region::Id id;
  if (!wanted() || !remap::begun() || room > remap::kMost || request.alignment > remap::kMostAlignment ||
      !std::has_single_bit(request.alignment) || !records::open(what, id))
    return nullptr;
  void* const block =
      remap::allocate({room, request.alignment, records::note_of(id, what.kind), what.zeroed}, thread_number());
  const Home home = records::settle(id, block);
  if (block != nullptr) journal::born(home);
  return block;
}

void end(const remap::Block& block, std::string_view function, const void* caller) noexcept {
  const Metered metered;
  region::Id id;
  Claim claim;
  if (!records::id_of(block.born, id) || !records::claim(id, block.address, claim)) return;
  const Death death{clock::ticks(), thread_number(), stack_number(caller)};
  journal::died(claim, death, function);
  records::finish(claim, death);
}

}  // namespace poireau::sampled::remapped
