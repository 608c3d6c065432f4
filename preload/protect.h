#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/sampled.h"
#include "tracked_alloc/verdict.h"

/// Protection of blocks that are not sampled (the options `protect`, and `placement` for those that are): each gets a
/// remapped home, or a guarded one if it is large, and no event. The hot path stays as it is: what the hooks jump to
/// (real.h) are then functions of ours.
namespace poireau::protect {

/// Makes everything ready, if the options want it. Once, by lifecycle.cc.
void arm() noexcept;
/// Whether there are such homes. Set once, before the program's first thread of its own, or never.
[[gnu::visibility("hidden")]] extern std::atomic<bool> is_armed;
[[nodiscard]] inline bool armed() noexcept { return is_armed.load(std::memory_order_relaxed); }
/// Whether they are not for samples only: then the hooks are to be told.
[[nodiscard]] bool protects_all() noexcept;

/// Whether such a block is to be protected.
[[nodiscard]] bool wants(const sampled::Request& request) noexcept;

/// A home for a request that `wants`, which is not sampled; nullptr: there is none, ask the real allocator.
[[nodiscard]] void* allocate(Kind kind, size_t size, size_t alignment, const void* caller) noexcept;
[[nodiscard]] inline void* allocate(const sampled::Request& request) noexcept {
  return allocate(request.kind, request.size, request.alignment, request.caller);
}
/// The same for a request to resize `ptr`, a block of the real allocator or nullptr: its content moves in.
[[nodiscard]] void* move_in(const sampled::Request& request, void* ptr) noexcept;
/// Whether `ptr`, which is given to a function that wants a block and is not ours, can't be anybody's: then it is told.
[[nodiscard]] bool is_no_block(const void* ptr, std::string_view function, const void* caller) noexcept;

// For a `ptr` among remapped homes; as in sampled.h.
[[nodiscard]] bool release(void* ptr, Release with, size_t size, const void* caller) noexcept;
[[nodiscard]] bool measure(const void* ptr, size_t& size) noexcept;
[[nodiscard]] sampled::Loan borrow(const sampled::Request& request, void* ptr) noexcept;
/// Frees a block whose content has moved on.
void leave(void* ptr, const sampled::Request& request) noexcept;

/// At the end of the process: looks behind the blocks that are still there, for a bounded time.
void check_all() noexcept;
/// The n-th part of that; false: there is no such part.
[[nodiscard]] bool check_some(size_t n, sampled::Check& check) noexcept;

/// Time has passed: more may be spent. At most once a millisecond.
void refill(uint64_t now) noexcept;
void forked() noexcept;

/// Since the process began, or was forked. Requests that got remapped homes or were not sampled.
struct Totals {
  uint64_t allocations, allocated_bytes, reallocations, deallocations;
  uint64_t of_2_mib, of_1_gib;  // allocations of so many bytes or more
  uint64_t guarded;             // allocations, in guarded homes
  uint64_t unprotected;         // were to get a home, and got none
};
[[nodiscard]] Totals totals() noexcept;

/// How, in a word: "userfaultfd", "markers", "runs" (remapped homes), "guards" (no more than guarded ones); "none".
[[nodiscard]] std::string_view engine() noexcept;

/// With what its notes say.
[[nodiscard]] tracked_alloc::Block describe(const tracked_alloc::remap::Block& block) noexcept;

}  // namespace poireau::protect
