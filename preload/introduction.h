#pragma once
#include <string_view>

#include "preload/event.h"

namespace poireau::journal {

/// Calls `tell` with the event that says whose process this is. False: there was no memory to gather it.
[[nodiscard]] bool introduce(std::string_view allocator, void (*tell)(const event::Any& event)) noexcept;

}  // namespace poireau::journal
