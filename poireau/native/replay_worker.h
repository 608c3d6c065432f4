#pragma once
#include "poireau/native/replay_state.h"

namespace poireau::replay {

/// Makes the calls of threads `first`, `first + step`, ... from `desk`, each when it is its turn.
void work(Desk& desk, uint32_t first, uint32_t step) noexcept;

}  // namespace poireau::replay
