#pragma once
#include <string_view>

#include "preload/sampled.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/remap.h"

/// Samples in remapped homes (placement = remap): they come and go as protected blocks do (protect.h), and have records
/// and events as other samples do.
namespace poireau::sampled::remapped {

/// Whether that is where a request's home is to be, if it is to be had.
[[nodiscard]] bool wanted() noexcept;
/// nullptr: not there; another kind of home is for it.
[[nodiscard]] void* place(const Request& request, const tracked_alloc::Wanted& wanted) noexcept;

/// The end of a sample that has just been freed, by the function of that name.
[[gnu::cold, gnu::noinline]] void end(const tracked_alloc::remap::Block& block, std::string_view function,
                                      const void* caller) noexcept;

}  // namespace poireau::sampled::remapped
