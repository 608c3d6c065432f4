#pragma once
#include <atomic>
#include <string_view>

#include "preload/report.h"
#include "preload/sampled.h"
#include "tracked_alloc/homes.h"

/// What the homes of sampled blocks and of those that are only protected have in common: how they come and go, and what
/// is wrong with who frees them.
namespace poireau::sampled {

/// The number of the stack from `caller` on; 0: there is none to be had.
[[nodiscard]] uint32_t stack_number(const void* caller) noexcept;

/// As the options want it. `protect`: guarded at any cost.
[[nodiscard]] tracked_alloc::Policy policy(bool protect) noexcept;

/// `before`: what could be used of the block that is resized; 0: none is.
[[nodiscard]] tracked_alloc::Wanted wanted_of(const Request& request, const Verdict& verdict, size_t before) noexcept;

/// Whether a request can have a home at all. `may_have_home`: counted if not.
[[gnu::visibility("hidden")]] extern std::atomic<bool> homes_closed;
[[nodiscard]] inline bool can_have_home(Kind kind) noexcept {
  return placeable(kind) && !homes_closed.load(std::memory_order_relaxed);
}
[[nodiscard]] bool may_have_home(const Request& request) noexcept;
/// nullptr: there is none, which is counted.
[[nodiscard]] void* find_home(const Request& request, const tracked_alloc::Wanted& wanted) noexcept;
/// The same for a block that is not sampled; not counted. Guarded, or none.
[[nodiscard]] void* find_guarded_home(const Request& request) noexcept;

/// A claimed block's end.
void end(const tracked_alloc::Claim& claim, std::string_view function, const void* caller) noexcept;

/// A pointer that is not the beginning of a live block, given to a function that needs one.
void complain(report::Error resize_or_free, const tracked_alloc::Claim& claim, const void* ptr,
              std::string_view function, const void* caller) noexcept;
/// Whether a block was given to a function that is not for it.
[[nodiscard]] bool mismatch(const tracked_alloc::Block& block, Family function) noexcept;
/// Whether there may be a block of somebody else's. Where we can't know, there may.
[[nodiscard]] bool is_memory(const void* ptr) noexcept;
/// Tells of a function or of a size that isn't the block's.
void check_release(const tracked_alloc::Block& block, Release with, size_t size, const void* caller) noexcept;
void check_resize(const tracked_alloc::Block& block, const Request& request) noexcept;
/// A block's error is told once, be it by `verify`, when it is freed, or at exit. True: it has one.
bool check_slack(const tracked_alloc::Claim& claim, std::string_view function, const void* caller) noexcept;

/// A resize is a request like any other: whether the block is a sample is decided anew, by its new size. `tested`: it
/// is to be settled.
[[nodiscard]] Verdict judge_resize(const Request& request, bool& tested) noexcept;
/// A block of the real allocator with the content of one of ours, `room` bytes of which could be used, to be resized
/// as `request` wants it; nullptr: no memory.
[[nodiscard]] void* lent_copy(const Request& request, const void* ptr, size_t room) noexcept;

/// Who operator new and delete belong to.
[[gnu::visibility("hidden")]] extern std::atomic<Operators> operators_are;
[[nodiscard]] inline Operators operators() noexcept { return operators_are.load(std::memory_order_relaxed); }

}  // namespace poireau::sampled
