#include "tracked_alloc/remap_engine.h"

/// No engine: blocks are closed with their runs, and not before.
namespace poireau::tracked_alloc::remap::engines {
namespace {

bool refuse(void*, size_t) noexcept { return false; }
bool nothing(void*, size_t) noexcept { return true; }

}  // namespace

constinit const Kind kNone{Engine::none, refuse, refuse, refuse, nothing, true};

}  // namespace poireau::tracked_alloc::remap::engines
