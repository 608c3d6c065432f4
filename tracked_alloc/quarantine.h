#pragma once
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/region.h"

/// Freed guarded homes: they stay unreadable as long as the budgets allow, then the oldest may be used again.
namespace poireau::tracked_alloc::quarantine {

struct Limits {
  size_t bytes, homes;
  uint64_t ticks;  // 0: no limit
};

/// The home's state is `freed` already. Those whose time is over leave.
void enter(region::Id id, const Limits& limits, uint64_t now) noexcept;

/// Homes of the area are wanted: of those that are here, the oldest leave. False: there are none.
bool make_room(unsigned area) noexcept;

[[nodiscard]] size_t bytes() noexcept;
[[nodiscard]] size_t homes() noexcept;

}  // namespace poireau::tracked_alloc::quarantine
