#include "preload/governor.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "config/options.h"
#include "preload/auto_period.h"
#include "preload/clock.h"
#include "preload/sampler.h"
#include "preload/sandbox.h"
#include "preload/stats.h"
#include "tracked_alloc/ration.h"

namespace poireau::governor {
namespace {

using enum Rule;
constexpr uint64_t kSecond = 1'000'000'000, kWindow = kSecond / 10;
constexpr uint64_t kBudget = 5'000;

/// A program by what its samples would cost at the usual period, as shares of the processor's time: those of homes, and
/// what guards add.
struct Program {
  double homes, guards;
  [[nodiscard]] double cost(Scale scale) const {
    const double stretch = double(scale.period) / kOne;
    return homes / stretch + std::min(guards * double(scale.guards) / kOne, guards / stretch);
  }
};

/// The shares that sampling took in each window. `noise`: the standard deviation of one, as a share of it.
std::vector<double> run(Scale& scale, Program program, int windows, uint64_t budget = kBudget, double noise = 0,
                        uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::vector<double> shares;
  for (int i = 0; i < windows; ++i) {
    shares.push_back(program.cost(scale) * std::max(0.0, 1 + noise * normal(random)));
    scale = next(scale, {uint64_t(shares.back() * kWindow), kWindow}, budget, governed, governed);
    EXPECT_GE(scale.period, kOne);
    EXPECT_LE(scale.period, kMostStretch);
    EXPECT_GE(scale.guards, kLeastGuards);
    EXPECT_LE(scale.guards, kOne);
  }
  return shares;
}

/// The most in a second, from the window `from` on.
double worst_second(const std::vector<double>& shares, size_t from) {
  double worst = 0;
  for (size_t i = from; i + 10 <= shares.size(); ++i) {
    double sum = 0;
    for (size_t j = i; j < i + 10; ++j) sum += shares[j];
    worst = std::max(worst, sum / 10);
  }
  return worst;
}

TEST(GovernorTest, WhatIsWithinTheBudgetIsLeftAlone) {
  Scale scale;
  run(scale, {.homes = 0.002, .guards = 0.0015}, 100);
  EXPECT_EQ(scale, Scale());
}

TEST(GovernorTest, GuardsGoFirst) {
  Scale scale;
  run(scale, {.homes = 0.002, .guards = 0.006}, 1);
  EXPECT_LT(scale.guards, kOne);
  EXPECT_EQ(scale.period, kOne);
  run(scale, {.homes = 0.002, .guards = 0.006}, 100);
  EXPECT_EQ(scale.period, kOne);
  EXPECT_GT(scale.guards, kOne / 8);
}

TEST(GovernorTest, AHundredTimesTheRateIsWithinTheBudgetSoonAndGuardsComeBackAfterwards) {
  for (const uint64_t budget : {kBudget, kBudget / 10, kBudget * 4}) {
    const double most = double(budget) / 1e6;
    for (const double noise : {0.0, 0.1, 0.3}) {
      Scale scale;
      const Program quiet{most / 4, most / 4}, loud{most * 25, most};
      run(scale, quiet, 50, budget, noise);
      const auto shares = run(scale, loud, 600, budget, noise, 7);
      EXPECT_LE(worst_second(shares, 20), 1.4 * most) << budget << ", " << noise;
      double mean = 0;
      for (size_t i = 100; i < shares.size(); ++i) mean += shares[i] / double(shares.size() - 100);
      EXPECT_LE(mean, most) << noise;
      EXPECT_GE(mean, most / 2) << noise;
      EXPECT_GT(scale.period, 15 * kOne);
      run(scale, quiet, 120, budget, noise);
      EXPECT_EQ(scale, Scale()) << noise;
    }
  }
}

TEST(GovernorTest, ALongTimeCountsForMore) {
  const Scale high{kOne, 100 * kOne};
  EXPECT_NEAR(double(next(high, {0, kWindow}, kBudget, governed, governed).period), 90.0 * kOne, kOne);
  EXPECT_NEAR(double(next(high, {0, 100 * kSecond}, kBudget, governed, governed).period), 10.0 * kOne, kOne);
}

TEST(GovernorTest, BoundsHoldAndWhatIsNotGovernedStays) {
  Scale scale;
  for (int i = 0; i < 20; ++i) scale = next(scale, {kSecond, kWindow}, 1, governed, governed);
  EXPECT_EQ(scale, (Scale{kLeastGuards, kMostStretch}));
  scale = {};
  for (int i = 0; i < 20; ++i) scale = next(scale, {kSecond, kWindow}, 1, governed, pinned);
  EXPECT_EQ(scale, (Scale{kLeastGuards, kOne}));
  scale = {};
  for (int i = 0; i < 20; ++i) scale = next(scale, {kSecond, kWindow}, 1, off, governed);
  EXPECT_EQ(scale, (Scale{kOne, kMostStretch}));
  EXPECT_EQ(next({}, {kSecond, kWindow}, 1, pinned, pinned), Scale());
  EXPECT_EQ(next({}, {UINT64_MAX >> 20, UINT64_MAX >> 2}, 1'000'000, governed, governed), Scale());
}

TEST(GovernorTest, WhatIsEstimatedUnderAMovingPeriodIsWhatWasAskedFor) {
  constexpr uint64_t kSeed = 5, kRequests = 400'000, kUsual = 4096;
  Random random{kSeed};
  Sampler sampler{};
  sampler.seed(kSeed);
  double truth = 0, estimate = 0, variance = 0, spent = 0;
  Scale scale;
  uint64_t smallest = UINT64_MAX, longest = 0;
  for (uint64_t i = 0; i < kRequests; ++i) {
    const uint64_t size = 1 + random.next() % (i / 50'000 % 2 == 0 ? 64 : 6400);  // quiet and loud in turn
    const uint64_t period = kUsual * scale.period / kOne;
    smallest = std::min(smallest, period);
    longest = std::max(longest, period);
    const double p = -std::expm1(-double(size) / double(period)), weight = double(size) / p;
    truth += double(size);
    variance += (1 - p) * weight * double(size);
    if (const uint64_t picked = sampler.confirm(size, nullptr, {period, period, false, false}); picked != 0) {
      estimate += double(size) / -std::expm1(-double(size) / double(picked));
      spent += 2'000;
    }
    if (i % 200 == 199) {
      scale = next(scale, {uint64_t(spent), kWindow / 40}, kBudget, pinned, governed);
      spent = 0;
    }
  }
  EXPECT_EQ(smallest, kUsual) << "seed " << kSeed;
  EXPECT_GT(longest, 5 * kUsual);
  EXPECT_NEAR(estimate, truth, 6 * std::sqrt(variance)) << "seed " << kSeed;
}

TEST(GovernorTest, AShareOfTheRationIsThatShareOfGuards) {
  using namespace tracked_alloc;
  Random random{3};
  uint64_t now = 1;
  for (const uint64_t share : {ration::kWhole, ration::kWhole / 4, ration::kWhole / 64}) {
    double guarded = 0, expected = 0, variance = 0;
    for (int i = 0; i < 100'000; ++i) {
      now += 20'000;
      const ration::Draw draw = ration::draw(ration::kGoverned, 0, 1, random.next(), now, 2'000'000'000, share);
      if (i < 64) continue;  // drawn before the share was known
      const double p = (double(draw.chance) + 1) / 0x1p32;
      guarded += draw.guarded;
      expected += p;
      variance += p * (1 - p);
    }
    EXPECT_NEAR(guarded, expected, 6 * std::sqrt(variance) + 1);
    EXPECT_NEAR(expected / 100'000, 20'000.0 / (256 * 9'000) * double(share) / ration::kWhole, 1e-4);
  }
}

class GovernorInForceTest : public testing::Test {
 protected:
  /// Also in a container, whose filter lets the processor's time be asked for.
  static void SetUpTestSuite() {
    before_ = sandbox::enter(sandbox::State::open);
    begin();
  }
  static void TearDownTestSuite() { sandbox::leave(before_); }
  GovernorInForceTest() { reset(); }
  ~GovernorInForceTest() override { reset(); }

  static void reset() {
    for (const auto& [option, text] : {std::pair{"sample_period", "512KiB"},
                                       {"guard", "governed"},
                                       {"overhead_budget", "0.5%"},
                                       {"sample_by", "bytes"},
                                       {"armed", "on"}})
      put(option, text, "built-in");
  }
  static void put(std::string_view option, std::string_view text, std::string_view origin = "test") {
    EXPECT_EQ(config::set(option, text, origin, config::Phase::at_load), config::SetResult::ok) << option;
  }
  static std::string description() {
    Text text;
    describe(text);
    return std::string(text.view());
  }
  /// Looks after a tenth of a second in which sampling took this share of the processor's time.
  bool pass(double share) {
    timespec used{};
    const auto nanoseconds = [&] {
      clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
      return uint64_t(used.tv_sec) * kSecond + uint64_t(used.tv_nsec);
    };
    const uint64_t begin = nanoseconds();
    uint64_t end = begin;
    while (end - begin < kSecond / 40) end = nanoseconds();
    const double spent = share * double(end - begin) * 1e-9 * double(clock::ticks_per_second());
    stats.for_samples.fetch_add(uint64_t(spent), std::memory_order_relaxed);
    now_ = std::max(now_, clock::ticks()) + clock::ticks_per_second() / 8;
    return look(now_);
  }
  static inline uint64_t now_ = 0;
  static inline sandbox::State before_ = sandbox::State::open;
};

TEST_F(GovernorInForceTest, WhatTheUserSetIsPinnedUnlessHeSetABudgetToo) {
  EXPECT_EQ(rule_of_period(), governed);
  EXPECT_EQ(rule_of_guards(), governed);
  EXPECT_EQ(description(), "a sample every 512KiB (governed)");
  put("sample_period", "512KiB");
  EXPECT_EQ(rule_of_period(), pinned);
  EXPECT_EQ(rule_of_guards(), governed);
  EXPECT_EQ(description(), "a sample every 512KiB (pinned)");
  put("guard", "100");
  EXPECT_EQ(rule_of_guards(), pinned);
  put("overhead_budget", "1%");
  EXPECT_EQ(rule_of_period(), governed);
  EXPECT_EQ(rule_of_guards(), governed);
  put("overhead_budget", "off");
  EXPECT_EQ(rule_of_period(), off);
  EXPECT_EQ(rule_of_guards(), off);
  EXPECT_EQ(description(), "a sample every 512KiB");
}

TEST_F(GovernorInForceTest, WhoTakesEveryCallOrGuardsEveryHomeIsNotGoverned) {
  put("sample_period", "1");
  EXPECT_EQ(rule_of_period(), off);
  EXPECT_EQ(rule_of_guards(), off);
  EXPECT_EQ(guard(), kGuardAll);
  EXPECT_EQ(description(), "every call a sample");
  put("overhead_budget", "1%");
  EXPECT_EQ(rule_of_period(), off);
  put("overhead_budget", "0.5%", "built-in");
  put("sample_period", "512KiB", "built-in");
  put("guard", "all");
  EXPECT_EQ(rule_of_period(), off);
  EXPECT_EQ(rule_of_guards(), off);
  put("armed", "off");
  EXPECT_EQ(period(), 0u);
  EXPECT_EQ(description(), "sampling is off");
}

TEST_F(GovernorInForceTest, CallsAndOddPeriodsAreSaidAsSuch) {
  put("sample_period", "1000");
  EXPECT_EQ(description(), "a sample every 1000 bytes (pinned)");
  put("sample_by", "calls");
  EXPECT_EQ(description(), "a sample every 1000 calls (pinned)");
}

TEST_F(GovernorInForceTest, ItMovesWhatIsInForceAndNothingElse) {
  for (int i = 0; i < 40 && (stretch() != kOne || guard_share() != kOne); ++i) pass(0);
  EXPECT_EQ(period(), 512u << 10);
  int news = 0;
  for (int i = 0; i < 4; ++i) news += pass(0.5);
  EXPECT_GE(news, 1);
  EXPECT_EQ(guard_share(), kLeastGuards);
  EXPECT_GT(stretch(), 32 * kOne);
  EXPECT_GT(period(), 16u << 20);
  EXPECT_EQ(period() % 1024, 0u);
  EXPECT_GT(cost(), 2 * budget());
  EXPECT_EQ(options.sample_period.load(), 512u << 10);
  put("sample_period", "64KiB");
  EXPECT_EQ(period(), 64u << 10) << "at once, not at the next look";
  pass(0.5);
  EXPECT_EQ(stretch(), kOne);
  put("sample_period", "1TiB", "built-in");
  for (int i = 0; i < 3; ++i) pass(0.5);
  EXPECT_EQ(period(), uint64_t{1} << 40);
}

constexpr uint64_t kSamplesOfEach = uint64_t{1} << auto_period::kMost;

TEST(AutoPeriodTest, DoublesAfterEach1024SamplesUpTo512KiB) {
  uint64_t samples = 0;
  for (uint64_t period = 1; period < auto_period::kLongest; period *= 2) {
    EXPECT_EQ(auto_period::after(samples, auto_period::kMost, false), period);
    samples += kSamplesOfEach;
    EXPECT_EQ(auto_period::after(samples - 1, auto_period::kMost, false), period);
  }
  EXPECT_EQ(samples, 19'456u) << "what a process is sure to have of it";
  for (const uint64_t more : {samples, 2 * samples, ~uint64_t{0}})
    EXPECT_EQ(auto_period::after(more, auto_period::kMost, false), auto_period::kLongest);
  EXPECT_EQ(auto_period::after(13 * kSamplesOfEach, auto_period::kMost, true), auto_period::kMostCalls);
  EXPECT_EQ(auto_period::after(samples, auto_period::kMost, true), auto_period::kMostCalls);
}

TEST_F(GovernorInForceTest, AnAutomaticPeriodGrowsUngovernedAndIsGovernedFromThenOn) {
  put("overhead_budget", "off");
  pass(0);
  put("overhead_budget", "0.5%", "built-in");
  auto_period::start_over();
  put("sample_period", "auto");
  EXPECT_EQ(rule_of_period(), governed) << "though the user set it";
  EXPECT_EQ(guard(), kGuardGoverned) << "though every call is a sample";
  EXPECT_EQ(description(), "every call a sample (auto)");
  const auto grow = [](uint64_t doublings) {
    uint64_t told = 0;
    for (uint64_t i = 0; i < doublings * kSamplesOfEach; ++i) told += auto_period::count(0);
    return told;
  };
  EXPECT_EQ(grow(10), 10u);
  EXPECT_EQ(description(), "a sample every 1KiB (auto)");
  for (int i = 0; i < 4; ++i) pass(0.5);
  EXPECT_EQ(period(), 1u << 10);
  EXPECT_EQ(guard_share(), kOne);
  EXPECT_EQ(grow(20), 9u);
  EXPECT_EQ(description(), "a sample every 512KiB (governed)");
  pass(0.5);
  EXPECT_EQ(stretch(), kOne) << "some of that was of its growth";
  for (int i = 0; i < 3; ++i) pass(0.5);
  EXPECT_GT(period(), 16u << 20);
  put("armed", "off");
  EXPECT_EQ(period(), 0u);
  put("armed", "on", "built-in");
  auto_period::start_over();
  EXPECT_EQ(period(), 1u) << "whatever the governor made of the last one";
}

TEST_F(GovernorInForceTest, InASandboxTheTimeOnTheWallIsWhatCounts) {
  const sandbox::State before = sandbox::enter(sandbox::State::inherited);
  const uint64_t tenth = clock::ticks_per_second() / 10;
  for (int i = 0; i < 100; ++i) look(now_ += tenth);
  EXPECT_EQ(stretch(), kOne);
  for (int i = 0; i < 3; ++i) {
    stats.for_samples.fetch_add(tenth / 2, std::memory_order_relaxed);
    look(now_ += tenth + 1);
  }
  EXPECT_GT(stretch(), kOne);
  sandbox::leave(before);
}

/// A program that sleeps, and its samples: so many a second at the usual period, of so many microseconds.
class GovernorAsleepTest : public GovernorInForceTest {
 protected:
  /// Looks ten times a second; returns how many samples a second there were in the last quarter of that time.
  double sleep(int seconds, double samples, double microseconds) {
    double last = 0;
    for (int i = 0; i < 10 * seconds; ++i) {
      due_ += samples / 10 * kOne / double(stretch());
      const double whole = std::floor(due_);
      due_ -= whole;
      if (i >= 30 * seconds / 4) last += whole;
      stats.for_samples.fetch_add(uint64_t(whole * microseconds * 1e-6 * double(clock::ticks_per_second())),
                                  std::memory_order_relaxed);
      now_ = std::max(now_, clock::ticks()) + clock::ticks_per_second() / 10 + 1;
      look(now_);
    }
    return last / (seconds / 4.0);
  }
  double due_ = 0;
};

TEST_F(GovernorAsleepTest, ItIsNotBlindHoweverDearItsSamplesAreAndSeesWellAgainWhenTheyAreCheap) {
  sleep(20, 76, 5);
  EXPECT_EQ(stretch(), kOne) << "less than half a millisecond a second";
  for (const double samples : {76.0, 1'000.0, 10'000.0}) {
    EXPECT_GE(sleep(40, samples, 100), 3) << samples;
    EXPECT_LE(sleep(40, samples, 100), 12) << samples;
  }
  sleep(20, 76, 5);
  EXPECT_EQ(stretch(), kOne);
}

TEST_F(GovernorAsleepTest, VisitsAndTurnsAreToldOfButNoPeriodIsToBlame) {
  for (int i = 0; i < 40; ++i) {
    stats.for_visits.fetch_add(clock::ticks_per_second() / 100, std::memory_order_relaxed);
    sleep(1, 0, 0);
  }
  EXPECT_EQ(stretch(), kOne);
  EXPECT_GT(cost(), budget());
}

TEST_F(GovernorAsleepTest, AChildThatSharesOurMemoryLeavesEverythingAlone) {
  const auto child = static_cast<pid_t>(syscall(SYS_fork));  // which nobody tells of
  if (child == 0) {
    const uint64_t before = stretch();
    sleep(10, 100'000, 100);
    _exit(stretch() == before ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(GovernorAsleepTest, AnHourOfSamplesAndMonthsOfIdlenessAreNoOverflow) {
  const sandbox::State before = sandbox::enter(sandbox::State::inherited);
  sleep(1, 0, 0);
  stats.for_samples.fetch_add(uint64_t{1} << 63, std::memory_order_relaxed);
  look(now_ += uint64_t{1} << 62);
  EXPECT_EQ(guard_share(), kLeastGuards);
  stats.for_samples.fetch_sub(uint64_t{1} << 63, std::memory_order_relaxed);
  sandbox::leave(before);
}

TEST_F(GovernorInForceTest, WhoIsPinnedIsWarnedOnce) {
  const sandbox::State before = sandbox::enter(sandbox::State::inherited);
  const uint64_t tenth = clock::ticks_per_second() / 10;
  now_ = std::max(now_, clock::ticks());
  put("sample_period", "64KiB");
  const auto said = [&](int tenths, double share) {
    testing::internal::CaptureStderr();
    for (int i = 0; i < tenths; ++i) {
      stats.for_samples.fetch_add(uint64_t(share * double(tenth)), std::memory_order_relaxed);
      look(now_ += tenth + 1);
    }
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(100, 0), "");
  EXPECT_EQ(said(100, 0.009), "") << "over, but not by a lot";
  EXPECT_EQ(said(20, 0.0312), "") << "a lot, but not for long";
  EXPECT_TRUE(
      said(120, 0.0312).ends_with("% of the CPU time, more than overhead_budget = 0.5%; sample_period is pinned\n"));
  EXPECT_EQ(cost() / 1000, 31u);
  EXPECT_EQ(said(100, 0.0312), "");
  EXPECT_EQ(stretch(), kOne);
  sandbox::leave(before);
}

}  // namespace
}  // namespace poireau::governor
