#pragma once
#include "poireau/native/replay_state.h"

namespace poireau::replay {

/// Makes a call, whose turn it is, and counts what it took.
void perform(Slot& slot, const Call& call, Tally& tally) noexcept;

}  // namespace poireau::replay
