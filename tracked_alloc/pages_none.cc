#include "tracked_alloc/pages_steps.h"

/// No guards: nothing can be mapped closed, so all homes are plain ones.
namespace poireau::tracked_alloc::pages {
namespace {

bool probe() noexcept { return true; }
bool refuse(void*, size_t) noexcept { return false; }
bool map_again(void*, size_t) noexcept { return true; }

}  // namespace

constinit const Guards kNone{Mechanism::none, probe, refuse, refuse, refuse, map_again, 0, 0};

}  // namespace poireau::tracked_alloc::pages
