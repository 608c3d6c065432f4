#pragma once
#include <string_view>

#include "config/options.h"
#include "preload/control_answer.h"

/// Options as the control socket shows and changes them. By one thread at a time.
namespace poireau::control {

/// Adds name, value, default, origin, range and changes.
void add_option(Answer& answer, const config::OptionInfo& option) noexcept;

/// nullptr: there is none of that name, and that is the answer.
[[nodiscard]] const config::OptionInfo* look_up(Answer& answer, std::string_view name) noexcept;

/// Gives one another value, and tells the trace if it had not had that. nullptr: it could not be set, and that is the
/// answer.
[[nodiscard]] const config::OptionInfo* change(Answer& answer, std::string_view name, std::string_view value) noexcept;
/// The value that it had before.
[[nodiscard]] std::string_view value_before() noexcept;

}  // namespace poireau::control
