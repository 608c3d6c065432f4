#include "preload/governor.h"

#include <algorithm>
#include <atomic>

#include "config/options.h"
#include "preload/auto_period.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/sandbox.h"
#include "preload/stats.h"
#include "preload/voice.h"

namespace poireau::governor {
namespace {

__extension__ using Wide = unsigned __int128;

constexpr uint64_t kSecond = 1'000'000'000, kMillion = 1'000'000;
constexpr uint64_t kLongestPeriod = uint64_t{1} << 40;
constexpr uint64_t kLongestWait = uint64_t{1} << 44;  // ticks: more than an hour
constexpr uint64_t kLeastUse = 5;  // one in so many: the least part of a processor that a program is taken to use
// So much over the budget for so long is worth a word.
constexpr uint64_t kALot = 2, kPatience = 10 * kSecond;

constinit std::atomic<uint64_t> guards_now{kOne}, stretch_now{kOne}, stretch_told{kOne};
constinit std::atomic<uint64_t> governed_period{0};  // what `stretch_now` is for: anything else was set since
constinit std::atomic<uint64_t> cost_now{0};
constinit std::atomic<uint64_t> next_look{0};  // in ticks
constinit std::atomic<uint64_t> seen_at{0};  // the last time that counted; in ticks, and so is what was spent till then
constinit std::atomic<uint64_t> seen_samples{0}, seen_visits{0};
constinit std::atomic<uint64_t> seen_use{0};     // of the CPU, in nanoseconds
constinit std::atomic<int> owner{0};             // whose all this is, if the kernel may be asked
constinit std::atomic<uint64_t> over_budget{0};  // nanoseconds of use
constinit std::atomic<bool> warned{false};
constinit std::atomic<bool> grew{false};  // the automatic period, at the last look

template <typename Value>
[[gnu::always_inline]] inline auto value(const std::atomic<Value>& atomic) noexcept {
  return atomic.load(std::memory_order_relaxed);
}
template <typename Value>
[[gnu::always_inline]] inline void put(std::atomic<Value>& atomic, Value value) noexcept {
  atomic.store(value, std::memory_order_relaxed);
}

bool set_by_user(std::string_view option) noexcept { return config::origin(*config::find(option)) != "built-in"; }

Rule rule_of(std::string_view option) noexcept {
  return set_by_user(option) && !set_by_user("overhead_budget") ? Rule::pinned : Rule::governed;
}

[[gnu::noinline]] uint64_t in_nanoseconds(uint64_t ticks) noexcept {
  return static_cast<uint64_t>(Wide{ticks} * kSecond / clock::ticks_per_second());
}

bool is_auto() noexcept { return value(options.sample_period) == kAutoPeriod; }
bool grows() noexcept { return is_auto() && auto_period::grows(); }

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

/// What has come to that counter since it was last asked, in nanoseconds.
uint64_t news_of(const std::atomic<uint64_t>& counter, std::atomic<uint64_t>& seen) noexcept {
  const uint64_t now = value(counter);
  return in_nanoseconds(now - seen.exchange(now, std::memory_order_relaxed));
}

[[gnu::cold, gnu::noinline]] void warn() noexcept {
  if (value(options.log) == LogLevel::off || warned.exchange(true, std::memory_order_relaxed)) return;
  Text text = voice::line();
  config::Share::show(cost() / 1000 * 1000, text << "sampling takes ");  // shows what isn't 0 in `text` itself
  config::Share::show(budget(), text << " of the CPU time, more than overhead_budget = ");
  voice::say((text << "; sample_period is pinned").view());
}

}  // namespace

uint64_t stretch() noexcept { return value(stretch_now); }
uint64_t guard_share() noexcept { return value(guards_now); }
uint64_t cost() noexcept { return value(cost_now); }
uint64_t budget() noexcept { return value(options.overhead_budget); }

uint64_t period() noexcept {
  const uint64_t set = value(options.sample_period), times = stretch();
  if (!value(options.armed)) return 0;
  const uint64_t asked = set == kAutoPeriod ? auto_period::now() : set;
  if (times == kOne || set != value(governed_period) || grows()) return asked;
  const auto longer = static_cast<uint64_t>(std::min(Wide{asked} * times / kOne, Wide{kLongestPeriod}));
  return longer < kMillion ? longer : longer & ~uint64_t{1023};  // easier to read
}

uint64_t guard() noexcept {
  using Which = config::Protect::Which;
  if (options.protect.which() == Which::off) return kGuardOff;
  if (options.protect.which() == Which::all) return kGuardAll;
  const uint64_t asked = value(options.guard);
  return asked == kGuardGoverned && value(options.sample_period) == 1 ? kGuardAll : asked;
}

Rule rule_of_period() noexcept {
  if (budget() == 0 || value(options.sample_period) <= 1) return Rule::off;
  if (guard() == kGuardAll && !set_by_user("overhead_budget")) return Rule::off;
  return is_auto() ? Rule::governed : rule_of("sample_period");
}

Rule rule_of_guards() noexcept { return budget() == 0 || guard() == kGuardAll ? Rule::off : rule_of("guard"); }

std::string_view note_of(Rule rule) noexcept {
  return rule == Rule::governed ? " (governed)" : rule == Rule::pinned ? " (pinned)" : "";
}

void describe(Text& text) noexcept {
  const uint64_t every = period();
  const std::string_view note = grows() ? " (auto)" : note_of(rule_of_period());
  if (every <= 1) {
    text << (every == 0 ? "sampling is off" : "every call a sample") << (every != 0 && is_auto() ? note : "");
    return;
  }
  text << "a sample every ";
  if (value(options.sample_by) == SampleBy::calls)
    text << every << " calls";
  else
    text.bytes(every) << (every % 1024 == 0 ? "" : " bytes");
  text << note;
}

Scale next(Scale now, Spent spent, uint64_t budget, Rule guards, Rule period) noexcept {
  constexpr uint64_t kMostAtOnce = 64;
  const uint64_t aim = std::max<uint64_t>(spent.in_all / kMillion * budget * 4 / 5, 1);
  const auto times = static_cast<uint64_t>(std::min(Wide{spent.sampling} * kOne / aim, Wide{kMostAtOnce * kOne}));
  if (times > kOne) {
    if (guards == Rule::governed && now.guards > kLeastGuards)
      now.guards = std::max(now.guards * kOne / times, kLeastGuards);
    else if (period == Rule::governed)
      now.period = std::min(now.period * times / kOne, kMostStretch);
    return now;
  }
  const uint64_t tenths = std::clamp<uint64_t>(spent.in_all / (kSecond / 10), 1, 9);
  const uint64_t less = std::max(times, kOne / 10 * (10 - tenths));
  if (period == Rule::governed && now.period > kOne)
    now.period = std::max(now.period * less / kOne, kOne);
  else if (guards == Rule::governed)
    now.guards = std::min(now.guards * kOne / less, kOne);
  return now;
}

bool look(uint64_t now) noexcept {
  uint64_t due = value(next_look);
  if (now < due || !next_look.compare_exchange_strong(due, now + clock::ticks_per_second() / 10)) return false;
  if (budget() == 0) {
    put(cost_now, uint64_t{0});
    put(stretch_now, kOne);
    put(guards_now, kOne);
    return stretch_told.exchange(kOne, std::memory_order_relaxed) != kOne;
  }
  if (may_ask() && sys::process_id() != value(owner)) return false;  // it only shares our memory
  const uint64_t passed =
      in_nanoseconds(std::min(now - seen_at.exchange(now, std::memory_order_relaxed), kLongestWait));
  // In a sandbox the kernel is not asked: as if one processor had been busy.
  const uint64_t use = may_ask() ? sys::cpu_time() : 0;
  const uint64_t used = use != 0 ? use - seen_use.exchange(use, std::memory_order_relaxed) : passed;
  const Spent spent{news_of(stats.for_samples, seen_samples), std::max(used, passed / kLeastUse)};
  const uint64_t sampling = spent.sampling + news_of(stats.for_visits, seen_visits);
  put(cost_now, (3 * cost() + sampling * 1000 / (spent.in_all / 1000 + 1)) / 4);

  const Rule guards = rule_of_guards(), period = rule_of_period();
  Scale scale{guards == Rule::governed ? guard_share() : kOne, period == Rule::governed ? stretch() : kOne};
  // What the period takes while it grows by itself is a price known beforehand, and not asked for again.
  const bool growing = grows(), did = grew.exchange(growing, std::memory_order_relaxed);
  if (!growing && !did) scale = next(scale, spent, budget(), guards, period);
  put(guards_now, scale.guards);
  put(stretch_now, scale.period);
  put(governed_period, value(options.sample_period));

  const bool too_much = period == Rule::pinned && cost() > kALot * budget();
  put(over_budget, too_much ? value(over_budget) + spent.in_all : 0);
  if (value(over_budget) > kPatience) warn();

  const uint64_t told = value(stretch_told);
  const bool news =
      scale.period > told + told / 4 || scale.period < told - told / 4 || (scale.period == kOne && told != kOne);
  if (news) put(stretch_told, scale.period);
  return news;
}

void begin() noexcept {
  const uint64_t now = clock::ticks();
  news_of(stats.for_samples, seen_samples);
  news_of(stats.for_visits, seen_visits);
  put<uint64_t>(seen_use, 0);
  put<uint64_t>(over_budget, 0);
  put(owner, may_ask() ? sys::process_id() : 0);
  put(seen_at, now);
  put(next_look, now + clock::ticks_per_second() / 10);
}

}  // namespace poireau::governor
