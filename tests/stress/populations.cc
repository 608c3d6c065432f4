// populations SEED COUNT WAYS FILE: the sampler itself over random populations, whose truth goes to FILE.truth and what
// was sampled to FILE.samples; coverage_test.py has the same rows. WAYS: of change, calls, multipliers, forks.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "config/options.h"
#include "preload/callers.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/sampler.h"

namespace poireau {
namespace {

constexpr int kStacks = 8, kShapes = 6;

struct Truth {
  double period, shape, end, asked_for;  // end: nanoseconds; asked for: one byte where a request has none
  struct {
    double bytes, count, before, after, byte_seconds;  // alive half-way and at the end: bytes, or by calls, blocks
  } stack[kStacks];
};
struct Row {
  uint32_t population, stack, process, thread;
  uint64_t size, period, since, by_calls;
  int64_t born, died;
};

Random dice;
double toss() { return (double(dice.next() >> 11) + 0.5) * 0x1p-53; }
double exponential() { return -std::log(toss()); }
double normal() { return std::sqrt(2 * exponential()) * std::cos(2 * M_PI * toss()); }
double between(double low, double high) { return low * std::pow(high / low, toss()); }

uint64_t size_of(int shape, double mean) {
  switch (shape) {
    case 0:
      return uint64_t(mean);
    case 1:
      return uint64_t(mean * std::exp(normal() - 0.5));
    case 2:
      return uint64_t(mean * (toss() < 0.002 ? 2000 : 1));
    case 3:
      return uint64_t(2 * mean * toss());
    case 4:
      return uint64_t(mean * std::exp(2 * normal() - 2));
    default:
      return uint64_t(toss() * 8) * uint64_t(1 + mean / 4);
  }
}

class Population {
 public:
  Population(uint32_t number, const std::string& ways, FILE* samples)
      : number_(number), change_(has(ways, "change")), calls_(has(ways, "calls")), samples_(samples) {
    multipliers_ = has(ways, "multipliers");
    truth_.shape = shape_ = int(number % kShapes);
    requests_ = int(between(2000, 20'000));
    double sum = 0, bytes = 0;
    for (int i = 0; i < kStacks; ++i) {
      mean_[i] = between(8, 1000);
      bytes += mean_[i] * (share_[i] = std::pow(2 + i, -1.5 - toss()));
      sum += share_[i];
    }
    for (double& share : share_) share /= sum;
    truth_.end = requests_ * 1e6;
    truth_.period = std::ceil(std::max(2.0, requests_ * (calls_ ? 1 : bytes / sum) / between(5, 400)));
    changes_at_ = int(requests_ * toss());
    changed_ = uint64_t(std::max(2.0, truth_.period * between(0.25, 4)));
  }

  Truth perform(bool forks) {
    if (forks) {
      const int at[] = {int(requests_ * toss()), int(requests_ * toss())};
      Sampler left[2];
      sampler.restart(dice.next());
      for (int i = 0; i < requests_; ++i) {
        for (int child : {0, 1})
          if (i == at[child]) left[child] = sampler;
        request(i, 0, 1);
      }
      for (uint32_t child : {1, 2}) {
        sampler = left[child - 1];
        sampler.seed(dice.next());
        for (int i = at[child - 1]; i < requests_; ++i) request(i, child, child + 1);
      }
      return truth_;
    }
    const uint32_t threads = number_ / kShapes % 4 + 1;
    for (uint32_t thread = 1; thread <= threads; ++thread) {
      sampler.restart(dice.next());
      for (int i = int(thread) - 1; i < requests_; i += int(threads)) request(i, 0, thread);
    }
    return truth_;
  }

 private:
  static bool has(const std::string& ways, const char* way) { return ways.find(way) != std::string::npos; }

  Rates rates(int i) const {
    const uint64_t base = change_ && i >= changes_at_ ? changed_ : uint64_t(truth_.period);
    // As the library has it, on the scale of what is asked for here.
    return {base, multipliers_ ? callers::finest(base) : base, calls_, multipliers_, std::max<uint64_t>(base / 4, 64)};
  }

  void request(int i, uint32_t process, uint32_t thread) {
    int stack = 0;
    for (double left = toss(); stack < kStacks - 1 && (left -= share_[stack]) > 0;) ++stack;
    const uint64_t size = size_of(shape_, mean_[stack]);
    const double lifetime = exponential() * requests_ / 4;
    const int64_t end = int64_t(requests_) * 1'000'000, born = int64_t(i) * 1'000'000;
    const int64_t died = lifetime + i < requests_ ? born + int64_t(lifetime * 1e6) : INT64_MAX;
    auto& truth = truth_.stack[stack];
    const double alive = calls_ ? 1 : double(size);
    truth.bytes += double(size);
    truth.count += 1;
    if (born <= end / 2 && died > end / 2) truth.before += alive;
    if (died == INT64_MAX) truth.after += alive;
    truth.byte_seconds += double(size) * double(std::min(died, end) - born) * 1e-9;
    truth_.asked_for += double(Sampler::weight(size));

    if (!charge(size)) return;
    uncharge(size);
    const uint64_t period = sampler.confirm(size, reinterpret_cast<const char*>(&size_of) + stack, rates(i));
    sampler.count(size);
    if (period == 0) return;
    const Row row{
        number_, uint32_t(stack), process, thread, size, period, sampler.take_since(), sampler.picked_by_calls(), born,
        died};
    std::fwrite(&row, sizeof row, 1, samples_);
  }

  uint32_t number_;
  bool change_, calls_, multipliers_;
  FILE* samples_;
  int shape_, requests_, changes_at_;
  uint64_t changed_;
  double mean_[kStacks], share_[kStacks];
  Truth truth_{};
};

/// The second stack is sampled eight times as often as others, the third a fourth as often.
bool set_multipliers(const std::string& name) {
  const auto here = reinterpret_cast<uintptr_t>(&size_of);
  const uint64_t offset = here - module_of(reinterpret_cast<const void*>(here)).base;
  char text[500];
  std::snprintf(text, sizeof text, "%s+%#lx=8, %s+%#lx=1/4", name.c_str(), offset + 1, name.c_str(), offset + 2);
  return config::set("callers", text, "test", config::Phase::live) == config::SetResult::ok;
}

}  // namespace
}  // namespace poireau

int main(int count, char** argument) {
  using namespace poireau;
  if (count != 5) return 2;
  const std::string ways = argument[3], file = argument[4];
  process::begin();
  gap_offset = cpu::offset_from_thread_pointer(&sampler);
  dice.state = std::strtoull(argument[1], nullptr, 0);
  if (!set_multipliers(std::string(process::program()))) return 3;
  FILE* const truths = std::fopen((file + ".truth").c_str(), "w");
  FILE* const samples = std::fopen((file + ".samples").c_str(), "w");
  if (truths == nullptr || samples == nullptr) return 4;
  for (uint32_t i = 0; i < std::strtoul(argument[2], nullptr, 0); ++i) {
    const Truth truth = Population(i, ways, samples).perform(ways.find("forks") != std::string::npos);
    std::fwrite(&truth, sizeof truth, 1, truths);
  }
  return std::fclose(truths) != 0 || std::fclose(samples) != 0 ? 5 : 0;
}
