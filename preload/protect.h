#pragma once
#include <cstddef>

#include "preload/sampled.h"

/// Protection of blocks that are not sampled (the option `protect`): each gets a remapped home, or a guarded one if it
/// is large, and no event. The hot path stays as it is: what the hooks jump to (real.h) are then functions of ours.
namespace poireau::protect {

/// Whether any are. Set once, before the program's first thread of its own, or never.
[[nodiscard]] bool armed() noexcept;

}  // namespace poireau::protect
