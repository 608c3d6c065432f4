#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/poireau.h"

// The whole shim under names of its own, in one process with the allocator it stands before; for sanitizers too.
extern "C" {
void* poireau_malloc(size_t);
void* poireau_calloc(size_t, size_t);
void* poireau_realloc(void*, size_t);
void* poireau_reallocarray(void*, size_t, size_t);
void* poireau_memalign(size_t, size_t);
void* poireau_aligned_alloc(size_t, size_t);
int poireau_posix_memalign(void**, size_t, size_t);
void poireau_free(void*);
size_t poireau_malloc_usable_size(void*);
}

// Sanitizers: a request too large is to fail as it does without them.
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }
extern "C" const char* __tsan_default_options() { return "allocator_may_return_null=1"; }

namespace poireau {
namespace {

uint64_t samples() {
  poireau_stats stats{};
  EXPECT_EQ(poireau_get_stats(&stats, sizeof stats), sizeof stats);
  return stats.samples;
}

class Unshadowed : public testing::TestWithParam<uint64_t> {
 protected:
  void SetUp() override { options.sample_period.store(GetParam()); }
  void TearDown() override { options.sample_period.store(512 << 10); }
};

void hammer(unsigned seed, int rounds) {
  std::mt19937 random(seed);
  std::vector<std::pair<unsigned char*, size_t>> blocks;
  for (int i = 0; i < rounds; ++i) {
    const size_t size = random() % (random() % 20 == 0 ? 100'000 : 200);
    void* block = nullptr;
    switch (random() % 8) {
      case 0:
        block = poireau_malloc(size);
        break;
      case 1:
        block = poireau_calloc(size / 8 + 1, 8);
        break;
      case 2:
        block = poireau_memalign(64, size);
        break;
      case 3:
        block = poireau_aligned_alloc(64, (size + 63) / 64 * 64);
        break;
      case 4:
        ASSERT_EQ(poireau_posix_memalign(&block, 128, size), 0);
        break;
      default:
        if (blocks.empty()) continue;
        auto [old, length] = blocks[random() % blocks.size()];
        for (size_t at = 0; at < length; ++at) ASSERT_EQ(old[at], static_cast<unsigned char>(length));
        std::swap(*std::find(blocks.begin(), blocks.end(), std::pair{old, length}), blocks.back());
        blocks.pop_back();
        if (random() % 2 == 0) {
          poireau_free(old);
          continue;
        }
        auto* fresh = static_cast<unsigned char*>(poireau_reallocarray(old, size + 1, 1));
        ASSERT_NE(fresh, nullptr);
        for (size_t at = 0; at < std::min(length, size + 1); ++at)
          ASSERT_EQ(fresh[at], static_cast<unsigned char>(length));
        std::memset(fresh, static_cast<int>(size + 1), size + 1);
        blocks.emplace_back(fresh, size + 1);
        continue;
    }
    ASSERT_NE(block, nullptr);
    ASSERT_GE(poireau_malloc_usable_size(block), size);
    std::memset(block, static_cast<int>(size), size);
    blocks.emplace_back(static_cast<unsigned char*>(block), size);
  }
  for (auto [block, length] : blocks) poireau_free(block);
}

TEST_P(Unshadowed, FourThreadsLoseNothing) {
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) threads.emplace_back([t] { hammer(20261121 + t, 5000); });
  for (auto& thread : threads) thread.join();
}

TEST_P(Unshadowed, AChildOfAThreadedProcessGoesOn) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) hammer(7, 50);
  });
  for (int i = 0; i < 20; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      for (int j = 0; j < 100; ++j) poireau_free(poireau_malloc(size_t(j)));
      _exit(0);
    }
    int status = 1;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  stop = true;
  other.join();
}

TEST_P(Unshadowed, KeepsErrnoAndPassesFailuresOn) {
  errno = 77;
  for (int i = 0; i < 1000; ++i) poireau_free(poireau_malloc(100));
  EXPECT_EQ(errno, 77);
  volatile size_t huge = PTRDIFF_MAX;
  EXPECT_EQ(poireau_calloc(huge, 4), nullptr);
  EXPECT_EQ(errno, ENOMEM);
  errno = 0;
  EXPECT_EQ(poireau_reallocarray(nullptr, huge, 4), nullptr);
  EXPECT_EQ(errno, ENOMEM);
}

INSTANTIATE_TEST_SUITE_P(AtPeriod, Unshadowed, testing::Values(0, 1, 1000, 512 << 10));

TEST(Unshadowed, EverySystemCallMayFail) {
  options.sample_period.store(1);
  const auto use = [] {
    for (const size_t size : {10ul, 5000ul, 50'000ul}) {
      char* block = static_cast<char*>(poireau_malloc(size));
      ASSERT_NE(block, nullptr);
      std::memset(block, 1, size);
      block = static_cast<char*>(poireau_realloc(block, 2 * size));
      ASSERT_NE(block, nullptr);
      ASSERT_EQ(block[0] + block[size - 1], 2);
      poireau_free(block);
    }
  };
  for (const uint64_t guard : {kGuardAll, kGuardOff}) {
    options.guard.store(guard);
    for (int again = 0; again < 3; ++again) fault::for_each_fault(use);
    const int calls = fault::for_each_fault(use);
    poireau_stats stats{};
    poireau_get_stats(&stats, sizeof stats);
    const bool no_homes = stats.placed == 0;  // the thread sanitizer has taken the region
    EXPECT_TRUE(no_homes || (guard == kGuardAll ? calls > 4 : calls < 4))
        << calls << ": plain homes cost no system call but to give memory back";
  }
  options.guard.store(kGuardGoverned);
  options.sample_period.store(512 << 10);
}

TEST(Unshadowed, WhatOverflowsCountsForNothing) {
  options.sample_period.store(1000);
  std::thread([] {
    const auto counted = [] {  // up to the sample that this waits for
      const uint64_t before = samples();
      uint64_t asked = 0;
      for (; samples() == before; asked += 10) poireau_free(poireau_malloc(10));
      poireau_stats stats{};
      poireau_get_stats(&stats, sizeof stats);
      return std::pair{stats.counted_bytes, asked};
    };
    const uint64_t start = counted().first;
    volatile size_t huge = PTRDIFF_MAX;
    for (int i = 0; i < 10'000; ++i) {
      EXPECT_EQ(poireau_calloc(huge, 4), nullptr);
      EXPECT_EQ(poireau_reallocarray(nullptr, huge, 4), nullptr);
    }
    const auto [end, asked] = counted();
    EXPECT_EQ(end - start, asked);
  }).join();
  options.sample_period.store(512 << 10);
}

TEST(Unshadowed, AtPeriodOneEveryRequestIsASample) {
  options.sample_period.store(1);
  std::thread([] {  // a thread of its own: nothing drawn before
    const uint64_t before = samples();
    void* block = poireau_malloc(0);
    block = poireau_realloc(block, 10);
    poireau_free(block);
    volatile size_t huge = PTRDIFF_MAX;
    EXPECT_EQ(poireau_malloc(huge), nullptr);
    EXPECT_EQ(samples() - before, 2u) << "a failure is no sample";
  })
      .join();
  options.sample_period.store(512 << 10);
}

}  // namespace
}  // namespace poireau
