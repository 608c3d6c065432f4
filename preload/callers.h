#pragma once
#include <cstdint>

/// Who asked for memory, as far as the option `callers` names them.
namespace poireau::callers {

constexpr uint64_t kNever = UINT64_MAX;

/// The period for requests that return to `caller`; `base` if no entry names it, kNever for a multiplier of 0.
[[nodiscard]] uint64_t period_of(const void* caller, uint64_t base) noexcept;

/// The smallest period that any caller has.
[[nodiscard]] uint64_t finest(uint64_t base) noexcept;

}  // namespace poireau::callers
