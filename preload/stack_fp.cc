#include "preload/stack.h"

namespace poireau::stack {

constinit const Unwinder kFramePointers{"fp", []() noexcept { return false; },
                                        [](std::span<uintptr_t>, const void*) noexcept { return size_t{0}; }};

}  // namespace poireau::stack
