#include "preload/control_stats.h"

#include <algorithm>
#include <bit>

#include "config/options.h"
#include "preload/clock.h"
#include "preload/control.h"
#include "preload/counters.h"
#include "preload/governor.h"
#include "preload/poireau.h"
#include "preload/protect.h"
#include "preload/protection.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/trace.h"
#include "tracked_alloc/homes.h"

namespace poireau::control {
namespace {

consteval size_t words_in(std::string_view names) {
  return static_cast<size_t>(std::count(names.begin(), names.end(), ' ')) + 1;
}

/// As poireau.h has them, up to `unplaced`.
constexpr char kStats[] =
    "samples sampled_bytes counted_bytes early dropped generation deepbinds namespaces period   live live_bytes "
    "guarded "
    "placed errors stackless cycles trace_bytes trace_dropped trace_lost";
constexpr size_t kNumbers = offsetof(poireau_stats, unplaced) / sizeof(uint64_t);
static_assert(words_in(kStats) == kNumbers);
static_assert(offsetof(poireau_stats, live) == 11 * sizeof(uint64_t), "where the run's id ends");

constexpr char kCounts[] = "connections refused requests malformed cut_off lost failures";
static_assert(words_in(kCounts) * sizeof(uint64_t) == sizeof(Counts));

void add_counters(Answer& answer) noexcept {
  uint64_t numbers[kNumbers];
  poireau_get_stats(reinterpret_cast<poireau_stats*>(numbers), sizeof numbers);
  add_numbers(answer, kStats, numbers);
}

void add_governor(Answer& answer) noexcept {
  constexpr std::string_view kRules = "governed, pinned, off";
  answer.begin("governor", '{')
      .text("period", config::choice_name(kRules, static_cast<int>(governor::rule_of_period())))
      .text("guards", config::choice_name(kRules, static_cast<int>(governor::rule_of_guards())))
      .number("cost_ppm", governor::cost())
      .number("budget_ppm", governor::budget())
      .end();
}

void add_drops(Answer& answer) noexcept {
  answer.begin("drops", '{');
  journal::for_each_drop(&answer, [](void* to, std::string_view cause, uint64_t count) noexcept {
    static_cast<Answer*>(to)->number(cause, count);
  });
  answer.end();
}

/// [class, blocks, bytes, sum of their periods]
void add_live(Answer& answer) noexcept {
  answer.begin("live_by_class", '[');
  for (unsigned block_class = tracked_alloc::kFirstClass; block_class < tracked_alloc::kClasses; ++block_class) {
    const auto share = std::bit_cast<std::array<uint64_t, 3>>(tracked_alloc::share_of(block_class));
    if (share[0] == 0) continue;
    answer.begin({}, '[').number({}, block_class);
    for (const uint64_t number : share) answer.number({}, number);
    answer.end();
  }
  answer.end();
}

constexpr char kProtection[] =
    "allocations allocated_bytes reallocations deallocations of_2_mib of_1_gib guarded unprotected live live_bytes "
    "placed open_dead open_dead_bytes closed_dead closed_with_run closed_alone recycled runs frames mappings "
    "arena_bytes table_bytes addresses_bytes sweeps sweeps_given_up swept_bytes freed freed_bytes kept kept_bytes "
    "sweep_cycles";
constexpr char kRefusals[] = "size memory addresses mappings busy sandbox";
constexpr char kPointers[] = "stack data heap home";
constexpr size_t kProtectionNumbers = offsetof(poireau_protection, refused) / sizeof(uint64_t);
static_assert(words_in(kProtection) == kProtectionNumbers && words_in(kRefusals) == POIREAU_REFUSALS &&
              words_in(kPointers) == POIREAU_POINTERS);

void add_protection(Answer& answer) noexcept {
  if (!protect::armed()) return;
  poireau_protection said;
  gather(said);
  answer.begin("protection", '{').text("engine", protect::engine());
  add_numbers(answer, kProtection, {reinterpret_cast<const uint64_t*>(&said), kProtectionNumbers});
  answer.begin("refused", '{');
  add_numbers(answer, kRefusals, said.refused);
  answer.end().begin("pointers", '{');
  add_numbers(answer, kPointers, std::bit_cast<std::array<uint64_t, POIREAU_POINTERS>>(stats.pointers));
  answer.end().end();
}

void add_control(Answer& answer) noexcept {
  answer.begin("control", '{');
  add_numbers(answer, kCounts, std::bit_cast<std::array<uint64_t, sizeof(Counts) / sizeof(uint64_t)>>(counts()));
  answer.end();
}

}  // namespace

void add_numbers(Answer& answer, std::string_view names, std::span<const uint64_t> numbers) noexcept {
  for (const uint64_t number : numbers)
    if (const std::string_view name = config::take_until(names, ' '); !name.empty()) answer.number(name, number);
}

void add_stats(Answer& answer) noexcept {
  add_counters(answer);
  const uint64_t period = options.sample_period.load(std::memory_order_relaxed);
  if (period == kAutoPeriod)
    answer.text("sample_period", "auto");
  else
    answer.number("sample_period", period);
  answer.truth("by_calls", options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls)
      .truth("armed", options.armed.load(std::memory_order_relaxed))
      .number("overlong_cycles", stats.overlong.load(std::memory_order_relaxed))
      .number("cycles_per_second", clock::ticks_per_second())
      .number("age_ns", clock::age())
      .text("unwinder", stack::unwinder())
      .text("guards", tracked_alloc::pages::name_of(tracked_alloc::mechanism()))
      .text("trace", trace::directory());
  add_governor(answer);
  add_drops(answer);
  add_live(answer);
  add_protection(answer);
  add_control(answer);
}

}  // namespace poireau::control
