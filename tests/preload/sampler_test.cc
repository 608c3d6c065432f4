#include "preload/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <thread>

#include "config/options.h"
#include "preload/auto_period.h"
#include "preload/process.h"

namespace poireau {
namespace {

constexpr uint64_t kSeed = 20261121;

Rates every(uint64_t period) { return {period, period, false, false}; }
Rates calls(uint64_t period) { return {period, period, true, false}; }

/// A thread's sampler as the hot path sees it.
class Sampling : public testing::Test {
 protected:
  void SetUp() override {
    process::begin();
    gap_offset = cpu::offset_from_thread_pointer(&sampler);
    sampler.restart(kSeed);
    EXPECT_EQ(config::set("callers", "", "test", config::Phase::live), config::SetResult::ok);
  }

  struct Pick {
    uint64_t period = 0, since = 0;
  };

  Pick request(uint64_t size, const Rates& rates, bool granted = true) {
    if (granted) requested_ += Sampler::weight(size);
    if (!charge(size)) {
      if (!granted) sampler.refund(size);
      return {};
    }
    uncharge(size);
    ++cold_;
    inside_ = true;
    const uint64_t period = sampler.confirm(size, nullptr, rates);
    inside_ = false;
    if (!granted) return {period, 0};
    sampler.count(size);
    if (period == 0) return {};
    const uint64_t since = sampler.take_since();
    counted_ += since;
    return {period, since};
  }

  static inline volatile sig_atomic_t inside_ = false;
  uint64_t cold_ = 0, requested_ = 0, counted_ = 0;
};

void expect_share(double picked, double trials, double p) {
  EXPECT_NEAR(picked, trials * p, 6 * std::sqrt(trials * p * (1 - p)) + 1);
}

TEST_F(Sampling, PicksARequestWithTheProbabilityOfItsSize) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{64}, uint64_t{4096}, uint64_t{100'000}}) {
    SCOPED_TRACE(size);
    const double trials = 200'000, weight = double(Sampler::weight(size));
    double picked = 0;
    for (int i = 0; i < trials; ++i) picked += request(size, every(4096)).period != 0;
    expect_share(picked, trials, -std::expm1(-weight / 4096));
  }
}

TEST_F(Sampling, GapsOfSingleBytesHaveAnExponentialsMeanAndVariance) {
  double gaps = 0, sum = 0, squares = 0, gap = 0;
  while (gaps < 20'000) {
    ++gap;
    if (request(1, every(100)).period == 0) continue;
    ++gaps, sum += gap, squares += gap * gap, gap = 0;
  }
  const double p = -std::expm1(-0.01), mean = 1 / p, deviation = std::sqrt(1 - p) / p;
  EXPECT_NEAR(sum / gaps, mean, 6 * deviation / std::sqrt(gaps));
  EXPECT_NEAR(squares / gaps - mean * mean, deviation * deviation, 6 * deviation * deviation * std::sqrt(8 / gaps));
}

TEST_F(Sampling, DoesNotFavourTheFirstRequestOfAThread) {
  double picked = 0;
  const int threads = 100'000;
  for (int i = 0; i < threads; ++i) {
    sampler.restart(kSeed + uint64_t(i));
    picked += request(64, every(4096)).period != 0;
  }
  expect_share(picked, threads, -std::expm1(-64.0 / 4096));
}

TEST_F(Sampling, TakesEveryCallAtPeriodOneInBothModes) {
  for (const Rates& rates : {every(1), calls(1)})
    for (int i = 0; i < 10'000; ++i) {
      const uint64_t size = uint64_t(i) % 3 * 1000;
      const Pick pick = request(size, rates);
      ASSERT_EQ(pick.period, 1u);
      ASSERT_EQ(pick.since, Sampler::weight(size));
    }
}

TEST_F(Sampling, WhileThePeriodDoublesWithTheSamplesTotalsStayUnbiased) {
  for (const bool by_calls : {false, true}) {
    SCOPED_TRACE(by_calls);
    sampler.restart(kSeed);
    Random random{kSeed};
    double value = 0, variance = 0, truth = 0;
    uint64_t samples = 0;
    for (int i = 0; i < 2'000'000; ++i) {
      const uint64_t size = random.next() % 64 << (random.next() % 8);
      const uint64_t now = auto_period::after(samples, auto_period::kMost, by_calls);
      truth += double(Sampler::weight(size));
      const Pick pick = request(size, by_calls ? calls(now) : every(now));
      if (pick.period == 0) continue;
      ++samples;
      EXPECT_GE(pick.period, now);
      const double weight = double(Sampler::weight(size)), step = sampler.picked_by_calls() ? 1 : weight;
      const double p = pick.period == 1 ? 1 : -std::expm1(-step / double(pick.period));
      value += weight / p;
      variance += weight * weight * (1 - p) / (p * p);
    }
    EXPECT_GT(samples, 10 << auto_period::kMost);
    EXPECT_NEAR(value, truth, 6 * std::sqrt(variance));
    EXPECT_LT(std::sqrt(variance), truth / 20) << "or the test says nothing";
  }
}

TEST_F(Sampling, ByCallsTreatsAllSizesAlike) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 30}) {
    double picked = 0;
    for (int i = 0; i < 200'000; ++i) picked += request(size, calls(50)).period != 0;
    expect_share(picked, 200'000, -std::expm1(-1.0 / 50));
  }
}

TEST_F(Sampling, CountsEveryByteExactlyOnceUpToTheLastSample) {
  Random random{kSeed};
  for (const Rates& rates : {every(1000), calls(20), every(512 << 10), every(1), every(0), every(1000)})
    for (int i = 0; i < 50'000; ++i) request(random.next() % 3000 * (i % 100 == 0 ? 10'000 : 1), rates);
  uint64_t last = 0;
  do last = counted_;
  while (request(1, every(1000)).period == 0 || counted_ == last);
  EXPECT_EQ(counted_, requested_);
}

TEST_F(Sampling, CountsNothingThatCameToNothing) {
  for (const uint64_t period : {0u, 1u, 1000u})
    for (const uint64_t size : {uint64_t{0}, uint64_t{100}, uint64_t{PTRDIFF_MAX}, uint64_t{SIZE_MAX}})
      for (int i = 0; i < 100; ++i) {
        request(50, every(period));
        request(size, every(period), false);
      }
  while (request(1, every(1)).period == 0) {
  }
  EXPECT_EQ(counted_, requested_);
}

TEST_F(Sampling, OffPicksNothingEndsOnHugeRequestsAndIsNoticedToEndWithin16MiB) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(request(SIZE_MAX / 2, every(0)).period, 0u);
  uint64_t bytes = 0;
  while (request(4096, every(1)).period == 0) bytes += 4096;
  EXPECT_LE(bytes, (uint64_t{16} << 20) + 4096) << "the request that notices is the last one passed";
}

TEST_F(Sampling, OffComesToTheColdPathOncein16MiB) {
  for (uint64_t bytes = 0; bytes < uint64_t{1} << 30; bytes += 4096) request(4096, every(0));
  EXPECT_LE(cold_, 1 + 1024 / 16);
}

TEST_F(Sampling, ReportsThePeriodThatPickedAndTurnsToANewOneWithin16MiB) {
  while (request(1000, every(1 << 20)).period == 0) {
  }
  uint64_t bytes = 0;
  Pick pick;
  while ((pick = request(1000, every(7000))).period == 0) bytes += 1000;
  EXPECT_TRUE(pick.period == 1 << 20 || pick.period == 7000);
  while (request(1000, every(7000)).period != 7000) bytes += 1000;
  EXPECT_LE(bytes, (uint64_t{16} << 20) + 64 * 7000);
}

TEST_F(Sampling, StaysUnbiasedWhileThePeriodChanges) {
  // Horvitz and Thompson: each pick stands for 1 / p(size, its period) requests.
  Random random{kSeed};
  double estimate = 0, variance = 0;
  const int trials = 2'000'000;
  uint64_t period = 1000;
  for (int i = 0; i < trials; ++i) {
    if (random.next() % 50 == 0) period = uint64_t{1000} << random.next() % 8;
    const Pick pick = request(100, every(period));
    if (pick.period == 0) continue;
    const double p = -std::expm1(-100.0 / double(pick.period));
    estimate += 1 / p;
    variance += (1 - p) / (p * p);
  }
  EXPECT_NEAR(estimate, trials, 6 * std::sqrt(variance));
}

TEST_F(Sampling, StaysUnbiasedWhenItIsTheSampleThatStopsTheSampling) {
  // As when turns of live control arm and disarm: each comes in a request that was hit or that came to look.
  Random random{kSeed};
  for (const bool by_calls : {false, true}) {
    sampler.restart(kSeed);
    double estimate = 0, truth = 0, variance = 0, cycles = 0;
    for (bool armed = false; cycles < 20'000;) {
      const uint64_t period = armed ? by_calls ? 20 : 4000 : 0, before = cold_;
      const bool due = random.next() % 3 == 0;
      const Pick pick = request(100, {period, period, by_calls, false, due ? uint64_t{0} : 10'000});
      truth += armed;
      if (pick.period != 0) {
        const double p = -std::expm1((by_calls ? -1.0 : -100.0) / double(pick.period));
        estimate += 1 / p;
        variance += (1 - p) / (p * p);
      }
      if (!due || cold_ == before || (!armed && random.next() % 4 != 0)) continue;
      armed = !armed;
      ++cycles;
    }
    EXPECT_NEAR(estimate, truth, 6 * std::sqrt(variance)) << "by calls: " << by_calls << ", seed " << kSeed;
    EXPECT_LT(std::sqrt(variance), truth / 30);
  }
}

TEST_F(Sampling, WhoIsToAskAgainDoesSoAtOnceAndOtherwiseAfterAStep) {
  for (const uint64_t step : {uint64_t{0}, uint64_t{64} << 10}) {
    sampler.restart(kSeed);
    cold_ = 0;
    for (int i = 0; i < 10'000; ++i) {
      const Rates rates{uint64_t{1} << 40, uint64_t{1} << 40, false, false, step};
      EXPECT_EQ(request(64, rates).period, 0u);
    }
    EXPECT_EQ(cold_, step == 0 ? 10'000 : 1 + 10'000 / (step / 64 + 1)) << step;
  }
}

TEST_F(Sampling, TwoSeedsDrawDifferentStreams) {
  auto gaps = [this](uint64_t seed) {
    sampler.restart(seed);
    std::vector<uint64_t> since;
    while (since.size() < 16)
      if (const Pick pick = request(1, every(1000)); pick.period != 0) since.push_back(pick.since);
    return since;
  };
  EXPECT_NE(gaps(1), gaps(2));
  EXPECT_EQ(gaps(3), gaps(3));
}

/// A timer whose handler makes requests of its own; they are counted in `by_handler`.
class Storm {
 public:
  static inline uint64_t period, by_handler, picked_in_handler, interruptions;
  static inline sigjmp_buf* jump = nullptr;
  static inline volatile sig_atomic_t* inside = nullptr;

  explicit Storm(uint64_t at_period, sigjmp_buf* out = nullptr, volatile sig_atomic_t* confirming = nullptr) {
    inside = confirming;
    period = at_period, by_handler = picked_in_handler = interruptions = 0, jump = out;
    struct sigaction action {};
    action.sa_handler = [](int) {
      ++interruptions;
      for (int i = 0; i < 3; ++i) {
        ++by_handler;
        if (!charge(40)) continue;
        uncharge(40);
        const uint64_t by = sampler.confirm(40, nullptr, every(period));
        sampler.count(40);
        if (by != 0) ++picked_in_handler;
      }
      // Not where an earlier one has just come between the hot path and us: there is the gap that sampler.h tells of.
      if (jump != nullptr && *inside != 0 && !sampler.overrun()) {
        *inside = 0;
        siglongjmp(*jump, 1);
      }
    };
    sigaction(SIGALRM, &action, &before_);
    struct sigevent event {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    const itimerspec often{{0, 20'000}, {0, 20'000}};
    timer_settime(timer_, 0, &often, nullptr);
  }
  ~Storm() {
    timer_delete(timer_);
    sigaction(SIGALRM, &before_, nullptr);
  }

 private:
  timer_t timer_;
  struct sigaction before_ {};
};

TEST_F(Sampling, SurvivesASignalHandlerThatRequestsAtAnyInstruction) {
  for (const uint64_t period : {uint64_t{1}, uint64_t{500}}) {
    sampler.restart(kSeed);
    const Storm storm(period);
    double picked = 0;
    int trials = 0;
    while (trials < 1'000'000 || Storm::interruptions < 100) ++trials, picked += request(40, every(period)).period != 0;
    picked += double(Storm::picked_in_handler);
    const double all = trials + double(Storm::by_handler), p = period == 1 ? 1 : -std::expm1(-40.0 / double(period));
    EXPECT_NEAR(picked / all, p, 0.01 * p + 6 * std::sqrt(p * (1 - p) / all)) << period;
  }
}

TEST_F(Sampling, GoesOnAfterAHandlerHasJumpedOutOfConfirm) {
  for (const uint64_t period : {uint64_t{1}, uint64_t{500}}) {
    sampler.restart(kSeed);
    static sigjmp_buf out;
    static volatile double picked, trials;
    picked = trials = 0;
    const Storm storm(period, &out, &inside_);
    if (sigsetjmp(out, 1) != 0) trials = trials - 1;  // that request came to nothing
    while (trials < 1'000'000 || Storm::interruptions < 100) {
      trials = trials + 1;
      picked = picked + (request(40, every(period)).period != 0);
    }
    const double p = period == 1 ? 1 : -std::expm1(-40.0 / double(period));
    EXPECT_NEAR(picked / trials, p, 0.02 * p + 6 * std::sqrt(p * (1 - p) / trials)) << period;
  }
}

// Callers: the test itself is the module.
TEST_F(Sampling, KeepsACallersCandidatesWithItsMultiplierExactly) {
  const char* const name = "sampler_test";
  for (const auto& [entry, factor] : {std::pair{"=8", 8.0}, {"=1/16", 1 / 16.0}, {"=1", 1.0}, {"=1/3", 1 / 3.0}})
    for (const uint64_t base : {1u, 40u, 4096u})
      for (const uint64_t size : {1u, 100u, 20'000u}) {
        ASSERT_EQ(config::set("callers", std::string(name) + entry + ", elsewhere.so=4", "test", config::Phase::live),
                  config::SetResult::ok);
        const uint64_t finest = std::max<uint64_t>(base / options.callers.highest_rate(), 1);
        const Rates rates{base, finest, false, true};
        const void* caller = reinterpret_cast<const void*>(&expect_share);
        double picked = 0;
        uint64_t period = 0;
        const double trials = 60'000;
        for (int i = 0; i < trials; ++i) {
          if (!charge(size)) continue;
          uncharge(size);
          const uint64_t by = sampler.confirm(size, caller, rates);
          if (by == 0) continue;
          ++picked;
          period = by;
        }
        SCOPED_TRACE(testing::Message() << entry << " base " << base << " size " << size << " period " << period);
        if (picked != 0) {
          EXPECT_EQ(period, std::max<uint64_t>(uint64_t(double(base) / factor + 0.001), 1));
        }
        const double target = std::max(double(base) / factor, 1.0);
        const double p = std::floor(target + 0.001) == 1 ? 1 : -std::expm1(-double(size) / std::floor(target + 0.001));
        expect_share(picked, trials, p);
        sampler.restart(kSeed + size);
      }
}

TEST_F(Sampling, NeverPicksACallerWithMultiplierZero) {
  ASSERT_EQ(config::set("callers", "sampler_test=0", "test", config::Phase::live), config::SetResult::ok);
  for (int i = 0; i < 10'000; ++i)
    if (charge(100)) {
      uncharge(100);
      EXPECT_EQ(sampler.confirm(100, reinterpret_cast<const void*>(&expect_share), {64, 64, false, true}), 0u);
    }
}

}  // namespace
}  // namespace poireau
