#pragma once
#include <cstdint>

#include "preload/base/text.h"

/// Keeps what sampling costs within `overhead_budget`, a share of the process's CPU time: guards are rationed first,
/// then the period grows. It only decides about requests to come, and every sample keeps the period and the chance of
/// guards that it was drawn with, so that estimates stay unbiased. Any thread, any time.
///
/// No program is blind: one that sleeps has the budget of one that uses a fifth of a processor. That is a millisecond a
/// second at the usual budget, or some ten samples at their dearest, with all caches cold. And only what a longer
/// period would have spared makes it longer: samples, not the turns of live control, nor visits that come to nothing.
/// Nor is it heard while `sample_period = auto` grows (auto_period.h).
namespace poireau::governor {

/// What a period is multiplied with now, times kOne; never less.
constexpr uint64_t kOne = 1 << 16;
[[nodiscard]] uint64_t stretch() noexcept;
/// `sample_period` as it is in force: 0 if sampling is off.
[[nodiscard]] uint64_t period() noexcept;
/// How much of their usual ration guards get, times kOne; kOne: all.
[[nodiscard]] uint64_t guard_share() noexcept;
/// `guard` as it is in force: who takes every call wants to catch every error.
[[nodiscard]] uint64_t guard() noexcept;

/// What an option is to the governor. pinned: the user set it. off: it has no say at all.
enum class Rule : uint8_t { governed, pinned, off };
[[nodiscard]] Rule rule_of_period() noexcept;
[[nodiscard]] Rule rule_of_guards() noexcept;
/// " (governed)", " (pinned)" or nothing.
[[nodiscard]] std::string_view note_of(Rule rule) noexcept;
/// "a sample every 512KiB (governed)", "a sample every 16 bytes (auto)", "every call a sample", "sampling is off"
void describe(Text& text) noexcept;

/// Looks at the clocks if it is time to. True if `period` has changed enough to be told.
bool look(uint64_t now) noexcept;

/// In parts per million of the process's CPU time: over the last second or so (visits and turns, too), and the budget
/// (0: none). Who uses less than a fifth of a processor is taken to use that.
[[nodiscard]] uint64_t cost() noexcept;
[[nodiscard]] uint64_t budget() noexcept;

/// In a new process, be it a fork child. Until then there is nothing to look at.
void begin() noexcept;

/// The law itself. What guards and the period are multiplied with, times kOne.
struct Scale {
  uint64_t guards = kOne, period = kOne;
  bool operator==(const Scale&) const = default;
};
constexpr uint64_t kLeastGuards = kOne / 64, kMostStretch = 4096 * kOne;
/// Of a time in which the processor was used for so long, in nanoseconds.
struct Spent {
  uint64_t sampling, in_all;
};
/// Up at once by what the budget was missed by, down by at most a tenth for each tenth of a second. Aims a fifth below
/// the budget. What is not governed is left alone.
[[nodiscard]] Scale next(Scale now, Spent spent, uint64_t budget, Rule guards, Rule period) noexcept;

}  // namespace poireau::governor
