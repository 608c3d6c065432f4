#pragma once
#include "preload/control_answer.h"

/// What `stats` tells.
namespace poireau::control {

/// Adds numbers in a row, with names that have a space between them; an empty one leaves its number out.
void add_numbers(Answer& answer, std::string_view names, std::span<const uint64_t> numbers) noexcept;

/// Adds its fields to the object that is open. By one thread at a time.
void add_stats(Answer& answer) noexcept;

/// The period in force; 0: nothing is sampled.
[[nodiscard]] uint64_t period_now() noexcept;

}  // namespace poireau::control
