#include "preload/exponential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace poireau {
namespace {

constexpr uint64_t kSeed = 20261121;

// Runs `exponential` on every sequence of b-bit uniforms that can decide whether E < 1, each weighted with its
// probability: P(E < j / 2^b) comes out exactly, and so does the error of the method at b bits.
class EveryUniform {
 public:
  explicit EveryUniform(unsigned bits) : bits_(bits), below_(1u << bits, 0.0) {}

  double worst_error() {
    explore({});
    double sum = 0, worst = 0;
    for (size_t j = 0; j < below_.size(); ++j) {
      const double expected = -std::expm1(-double(j) / double(below_.size()));
      worst = std::max(worst, std::abs(sum - expected));
      sum += below_[j];
    }
    return worst;
  }

 private:
  void explore(std::vector<uint64_t> prefix) {
    // The first round is over once a number is not below the one before: more would only follow a rejection.
    const size_t length = prefix.size();
    size_t used = 0;
    bool starved = false;
    const uint64_t gap = exponential(below_.size(), [&] {
      starved = starved || used == length;
      return starved ? UINT64_MAX : prefix[used++] << (64 - bits_);  // the former ends any run
    });
    if (starved) {
      if (length >= 2 && prefix[length - 1] >= prefix[length - 2]) return;
      for (uint64_t next = 0; next < below_.size(); ++next) {
        prefix.push_back(next);
        explore(prefix);
        prefix.pop_back();
      }
      return;
    }
    below_[gap] += std::pow(0.5, double(bits_ * length));
  }

  unsigned bits_;
  std::vector<double> below_;  // P(gap = j)
};

TEST(Exponential, IsWithinTwoToTheMinusBitsOfTheTruth) {
  for (unsigned bits = 1; bits <= 4; ++bits) EXPECT_LE(EveryUniform(bits).worst_error(), std::ldexp(1, -int(bits)));
}

TEST(Exponential, FollowsItsDistributionByAndersonAndDarling) {
  Random random{kSeed};
  constexpr size_t kDraws = 200'000;
  constexpr uint64_t kMean = uint64_t{1} << 40;
  std::vector<double> u;
  for (size_t i = 0; i < kDraws; ++i) {
    const uint64_t gap = exponential(kMean, [&] { return random.next(); });
    u.push_back(-std::expm1(-(double(gap) + 0.5) / double(kMean)));
  }
  std::sort(u.begin(), u.end());
  double a = -double(kDraws);
  for (size_t i = 0; i < kDraws; ++i)
    a -= (2.0 * double(i) + 1) / double(kDraws) * (std::log(u[i]) + std::log1p(-u[kDraws - 1 - i]));
  EXPECT_LT(a, 12);  // 6 sigma and more: P(A^2 > 12) is below 1e-6
}

TEST(Exponential, FillsEqualClassesEquallyByChiSquare) {
  constexpr int kClasses = 64, kDraws = 640'000;
  for (const uint64_t mean : {uint64_t{2}, uint64_t{1000}, uint64_t{512} << 10, uint64_t{1} << 40}) {
    Random random{kSeed + mean};
    std::vector<double> expected(kClasses + 1), seen(kClasses + 1);
    // Classes by whole gaps, as equal as whole numbers allow: their probabilities are exact.
    std::vector<uint64_t> bounds;
    for (int c = 1; c < kClasses; ++c)
      bounds.push_back(uint64_t(std::ceil(-std::log1p(-double(c) / kClasses) * double(mean))));
    bounds.erase(std::unique(bounds.begin(), bounds.end()), bounds.end());
    double before = 0;
    for (size_t c = 0; c < bounds.size(); ++c) {
      const double p = -std::expm1(-double(bounds[c]) / double(mean));
      expected[c] = (p - before) * kDraws;
      before = p;
    }
    expected[bounds.size()] = (1 - before) * kDraws;
    for (int i = 0; i < kDraws; ++i) {
      const uint64_t gap = exponential(mean, [&] { return random.next(); });
      ++seen[size_t(std::upper_bound(bounds.begin(), bounds.end(), gap) - bounds.begin())];
    }
    double chi = 0;
    for (size_t c = 0; c <= bounds.size(); ++c) chi += (seen[c] - expected[c]) * (seen[c] - expected[c]) / expected[c];
    const double freedom = double(bounds.size());
    EXPECT_LT(chi, freedom + 6 * std::sqrt(2 * freedom) + 12) << "mean " << mean;
  }
}

TEST(Exponential, AgreesWithTheLibraryOnTheChanceOfOneByte) {
  for (const uint64_t period :
       {uint64_t{2}, uint64_t{3}, uint64_t{10}, uint64_t{1000}, uint64_t{512} << 10, uint64_t{1} << 40}) {
    const double truth = -std::expm1(-1 / double(period));
    EXPECT_NEAR(double(hit_in_one_byte(period)) * 0x1p-63, truth, truth * 1e-6 + 0x1p-58) << period;
  }
}

}  // namespace
}  // namespace poireau
