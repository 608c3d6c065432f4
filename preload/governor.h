#pragma once
#include <cstdint>

/// Keeps what sampling costs within `overhead_budget`, a share of the process's CPU time: guards are rationed first,
/// then the period grows. It only decides about requests to come, and every sample keeps the period and the chance of
/// guards that it was drawn with, so that estimates stay unbiased. Any thread, any time.
namespace poireau::governor {

/// What a period is multiplied with now, times kOne; never less.
constexpr uint64_t kOne = 1 << 16;
[[nodiscard]] uint64_t stretch() noexcept;
/// `sample_period` as it is in force: 0 if sampling is off.
[[nodiscard]] uint64_t period() noexcept;
/// How much of their usual ration guards get, times kOne; kOne: all.
[[nodiscard]] uint64_t guard_share() noexcept;

/// What an option is to the governor. pinned: the user set it. off: it has no say at all.
enum class Rule : uint8_t { governed, pinned, off };
[[nodiscard]] Rule rule_of_period() noexcept;
[[nodiscard]] Rule rule_of_guards() noexcept;

/// Looks at the clocks if it is time to. True if `period` has changed enough to be told.
bool look(uint64_t now) noexcept;

/// In parts per million of the process's CPU time: over the last second or so, and the budget (0: none).
[[nodiscard]] uint64_t cost() noexcept;
[[nodiscard]] uint64_t budget() noexcept;

/// In a fork child.
void forked() noexcept;

}  // namespace poireau::governor
