#pragma once
#include <cstdint>

namespace poireau {

/// Which exported function a request for memory came through.
enum class Kind : uint8_t {
#define KIND_allocate(name) name,
#define KIND_resize(name) name,
#define KIND_store(name) name,
#define KIND_release(name)
#define KIND_ask(name)
#define KIND_answer(name)
#define KIND_other(name)
#define HOOK(shape, library, name, ...) KIND_##shape(name)
#include "preload/hooks.def"
#undef HOOK
#undef KIND_allocate
#undef KIND_resize
#undef KIND_store
#undef KIND_release
#undef KIND_ask
#undef KIND_answer
#undef KIND_other
};

}  // namespace poireau
