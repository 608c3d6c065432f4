#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "preload/base/cpu.h"
#include "tracked_alloc/remap_runs.h"

/// Where threads take blocks from: each from a stripe, by habit its own. Who finds it held goes to the next, for its
/// holder may be the function that he has interrupted. That goes on in a fork child, too, if he forks: in what he held
/// everything is as it was.
namespace poireau::tracked_alloc::remap::stripes {

/// Blocks of one run that are to be given out next.
struct Current {
  uint64_t bits;
  uintptr_t next;  // the block that the lowest bit stands for
  runs::Run* run;
  uintptr_t base;        // of the group that the lowest bit stands for
  places::Entry* entry;  // its
  uint32_t number;       // in the run
  bool more;             // the run has others
};

constexpr unsigned kCount = 32;
struct alignas(64) Stripe {
  std::atomic<uintptr_t> holder;        // a thread, by its pointer; 0: none
  std::atomic<uint64_t> placed, asked;  // blocks and their bytes, ever; its holder's to write
  Current current[kShapeCount];

  void let_go() noexcept { holder.store(0, std::memory_order_release); }
};
[[gnu::visibility("hidden")]] extern Stripe all[kCount];

/// nullptr: all are held.
inline Stripe* hold(unsigned number) noexcept {
  for (unsigned i = 0; i < kCount; ++i) {
    Stripe& stripe = all[(number + i) % kCount];
    uintptr_t nobody = 0;
    if (stripe.holder.compare_exchange_strong(nobody, cpu::thread_pointer(), std::memory_order_acquire)) [[likely]]
      return &stripe;
  }
  return nullptr;
}

/// What stripes have that nobody has yet.
struct Held {
  uint64_t blocks, bytes;
};
[[nodiscard]] Held held() noexcept;
/// In a fork child: nobody holds any but who was interrupted to fork.
void forked() noexcept;

}  // namespace poireau::tracked_alloc::remap::stripes
