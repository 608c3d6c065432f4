#pragma once
#include <string_view>

#include "preload/event.h"

namespace poireau::journal {

/// What lies beneath us. Text that stays.
void set_allocator(std::string_view file) noexcept;
/// Calls `tell` with the event that says whose process this is. False: there was no memory to gather it.
[[nodiscard]] bool introduce(void (*tell)(const event::Any& event)) noexcept;

}  // namespace poireau::journal
