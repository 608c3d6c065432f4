#include "preload/governor.h"

#include "config/options.h"

namespace poireau::governor {
uint64_t stretch() noexcept { return kOne; }
uint64_t period() noexcept {
  if (!options.armed.load(std::memory_order_relaxed)) return 0;
  return options.sample_period.load(std::memory_order_relaxed);
}
uint64_t guard_share() noexcept { return kOne; }
Rule rule_of_period() noexcept { return Rule::off; }
Rule rule_of_guards() noexcept { return Rule::off; }
bool look(uint64_t) noexcept { return false; }
uint64_t cost() noexcept { return 0; }
uint64_t budget() noexcept { return options.overhead_budget.load(std::memory_order_relaxed); }
void forked() noexcept {}
}  // namespace poireau::governor
