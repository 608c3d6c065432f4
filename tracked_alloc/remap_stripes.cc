#include "tracked_alloc/remap_stripes.h"

#include <bit>

namespace poireau::tracked_alloc::remap::stripes {

// Here and elsewhere .lbss: what is large, and untouched in most processes, lies behind all that is small.
[[gnu::section(".lbss")]] constinit Stripe all[kCount]{};

Held held() noexcept {
  Held out{};
  for (const Stripe& stripe : all)
    for (unsigned shape = 0; shape < kShapeCount; ++shape) {
      const auto blocks = static_cast<uint64_t>(std::popcount(stripe.current[shape].bits));
      out.blocks += blocks;
      out.bytes += blocks * kShapes[shape].capacity;
    }
  return out;
}

void forked() noexcept {
  runs::drop_all();
  for (Stripe& stripe : all) {
    const uintptr_t holder = stripe.holder.load(std::memory_order_relaxed);
    const bool is_lost = holder != 0 && holder != cpu::thread_pointer();  // who held it stood still in the middle
    if (is_lost) stripe.holder.store(0, std::memory_order_relaxed);
    for (Current& current : stripe.current) {
      if (is_lost) current = {};
      if (current.more) runs::keep(*current.run);
    }
  }
  runs::list_the_others();
}

}  // namespace poireau::tracked_alloc::remap::stripes
