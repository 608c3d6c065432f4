#include "tracked_alloc/remap_stripes.h"

#include <bit>

namespace poireau::tracked_alloc::remap::stripes {

// Here and elsewhere .lbss: what is large, and untouched in most processes, lies behind all that is small.
[[gnu::section(".lbss")]] constinit Stripe all[kCount]{};

Held held() noexcept {
  Held out{};
  for (const Stripe& stripe : all) {
    out.placed += stripe.placed.load(std::memory_order_relaxed);
    for (unsigned shape = 0; shape < kShapeCount; ++shape) {
      const auto blocks = static_cast<uint64_t>(std::popcount(stripe.current[shape].bits));
      out.blocks += blocks;
      out.bytes += blocks * kShapes[shape].capacity;
    }
  }
  return out;
}

}  // namespace poireau::tracked_alloc::remap::stripes
