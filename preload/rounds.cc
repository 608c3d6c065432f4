#include "preload/rounds.h"

namespace poireau::journal {
bool begin_checkpoint() noexcept { return false; }
Checkpoint step_checkpoint() noexcept { return {}; }
}  // namespace poireau::journal
