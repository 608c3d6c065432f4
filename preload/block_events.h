#pragma once
#include <cstdint>
#include <string_view>

#include "preload/event.h"
#include "tracked_alloc/homes.h"

/// What is told of a block, made of its record.
namespace poireau::journal {

/// Of this block and no other: its home, and how many that has had.
[[nodiscard]] inline uint64_t number_of(tracked_alloc::region::Id id, const tracked_alloc::Record& record) noexcept {
  return uint64_t{record.uses} << 40 | uint64_t{id.area} << 32 | id.index;
}

/// Alloc, Live or Resize.
template <typename Event>
[[nodiscard]] Event birth_of(uint64_t number, const tracked_alloc::Block& block) noexcept;

[[nodiscard]] event::Free death_of(uint64_t number, uint64_t address, const tracked_alloc::Death& death,
                                   std::string_view function) noexcept;

}  // namespace poireau::journal
