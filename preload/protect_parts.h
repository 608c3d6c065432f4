#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

#include "config/options.h"
#include "preload/base/cpu.h"
#include "preload/notes.h"
#include "preload/protect.h"
#include "preload/protect_budget.h"
#include "preload/sampled.h"
#include "tracked_alloc/noise.h"
#include "tracked_alloc/remap.h"

/// What the parts of protect.h share: protect.cc (allocating and freeing), protect_resize.cc, protect_arm.cc (how it
/// begins) and protect_told.cc (what is told and counted).
namespace poireau::protect {

namespace remap = tracked_alloc::remap;

template <typename Option>
auto value(const Option& option) noexcept {
  return option.load(std::memory_order_relaxed);
}

/// Counted by threads that don't meet.
struct alignas(64) Counters {
  std::atomic<uint64_t> resized, of_2_mib, of_1_gib, guarded, guarded_bytes, unprotected;
};
constexpr unsigned kStripes = 16;
[[gnu::visibility("hidden")]] extern Counters counters[kStripes];
[[gnu::always_inline]] inline unsigned stripe() noexcept {
  return static_cast<unsigned>(cpu::thread_pointer() * 0x9e3779b97f4a7c15 >> 48);
}
inline void add(std::atomic<uint64_t> Counters::*counter, uint64_t amount = 1) noexcept {
  (counters[stripe() % kStripes].*counter).fetch_add(amount, std::memory_order_relaxed);
}

/// What stacks and single closings may take: so much at first, so that short programs have all of them, then a share
/// of the CPU time.
[[gnu::visibility("hidden")]] extern Budget stacks, closings;

[[gnu::always_inline]] inline bool has_stacks() noexcept { return !stacks.spent() && value(options.stack_depth) != 0; }

/// A birth, with its stack if that can be afforded.
[[nodiscard]] notes::Note note_of(Kind kind, const void* caller) noexcept;
/// Frees a live block, and closes it at once if that is wanted and can be afforded.
[[nodiscard]] remap::Death take(void* ptr, const void* caller) noexcept;
void sweep_if_due() noexcept;

/// Whether the size of the real allocator's blocks is known.
[[gnu::visibility("hidden")]] extern bool moves_in;

/// In the words of other homes.
[[nodiscard]] tracked_alloc::Claim claim_of(tracked_alloc::Claim::Found found, const remap::Block& block,
                                            const void* ptr) noexcept;
[[nodiscard]] tracked_alloc::Claim claim_of(const remap::Death& death, const void* ptr) noexcept;
/// `bytes`: what the damaged ones hold, the first 32 of them at least.
void tell_damage(const tracked_alloc::Block& block, const tracked_alloc::noise::Damage& damage,
                 const unsigned char* bytes, std::string_view function, const void* caller) noexcept;

}  // namespace poireau::protect
