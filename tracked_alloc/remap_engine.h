#pragma once
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_runs.h"

/// How blocks of a run are closed by themselves: an engine. There are two, and the want of one. What it is given are
/// pages that show the arena, and that keep what they hold however often they are closed and opened.
namespace poireau::tracked_alloc::remap::engines {

struct Kind {
  Engine engine;
  /// Prepares all pages of a run for what follows; they stay open.
  bool (*enter)(void* at, size_t size) noexcept;
  bool (*close)(void* at, size_t size) noexcept;
  bool (*open)(void* at, size_t size) noexcept;
  /// The run's pages are as they were: all open.
  bool (*leave)(void* at, size_t size) noexcept;
  bool moves;  // closed pages may be moved: they stay closed, and others' too
};
[[gnu::visibility("hidden")]] extern const Kind kMarkers, kUserfaultfd, kNone;

/// The first that works, or the one that is wanted if it does.
void choose(Engine wanted) noexcept;
[[nodiscard]] const Kind& kind() noexcept;

/// Closes dead blocks of the run that lie side by side, and opens one again.
[[nodiscard]] bool close(runs::Run& run, unsigned block, unsigned count = 1) noexcept;
[[nodiscard]] bool open(runs::Run& run, unsigned block) noexcept;
/// In a fork child, where the run's pages are new and open: closes what was closed.
void forked(runs::Run& run) noexcept;
/// Some of its pages have been shown anew, and are open; those of live blocks.
void enter_again(const runs::Run& run, uintptr_t at, size_t size) noexcept;
[[nodiscard]] bool may_move(const runs::Run& run) noexcept;
/// Opens all of its pages: after the run has been moved, or while all of its blocks are to be given out.
[[nodiscard]] bool let_go(runs::Run& run) noexcept;

}  // namespace poireau::tracked_alloc::remap::engines
