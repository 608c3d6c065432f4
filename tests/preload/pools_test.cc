#include "preload/pools.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace poireau::pools {
namespace {

constexpr uintptr_t kBegin = uintptr_t{7} << 40;  // nobody's: pools are never looked into
constexpr size_t kSize = 1 << 20;

struct Announced {
  explicit Announced(uintptr_t at, size_t size = kSize) : begin(at) { EXPECT_TRUE(create(at, size)); }
  ~Announced() { destroy(begin); }
  const uintptr_t begin;
};

TEST(Pools, KnowObjectsByEachOfTheirBytes) {
  EXPECT_FALSE(any());
  const Announced pool(kBegin);
  EXPECT_TRUE(any());
  allocated(kBegin + 64, 40);
  for (const uintptr_t at : {64, 65, 103}) {
    const Object object = find(kBegin + at);
    EXPECT_EQ(object.address, kBegin + 64);
    EXPECT_EQ(object.size, 40u);
    EXPECT_TRUE(object.live);
  }
  for (const uintptr_t at : {0, 63, 104}) EXPECT_EQ(find(kBegin + at).address, 0u) << at;
  EXPECT_EQ(find(kBegin - 1).address, 0u);
  EXPECT_EQ(find(kBegin + kSize).address, 0u);
}

TEST(Pools, TellTheFirstEndOfAnObjectFromTheSecond) {
  const Announced pool(kBegin);
  allocated(kBegin, 8);
  EXPECT_TRUE(freed(kBegin).live);
  EXPECT_FALSE(find(kBegin + 7).live);
  EXPECT_FALSE(freed(kBegin).live);
  EXPECT_EQ(freed(kBegin + 8).address, 0u) << "no object begins there";
  allocated(kBegin, 8);
  EXPECT_TRUE(freed(kBegin).live);
}

TEST(Pools, ForgetObjectsThatAnotherLiesOver) {
  const Announced pool(kBegin);
  for (uintptr_t at = 0; at < 128; at += 8) allocated(kBegin + at, 8);
  allocated(kBegin + 16, 64);
  EXPECT_EQ(find(kBegin + 40).address, kBegin + 16);
  EXPECT_EQ(find(kBegin + 80).address, kBegin + 80);
}

TEST(Pools, TakeTheLastBytesOfAPoolAndObjectsThatReachBeyondIt) {
  const Announced pool(kBegin, 100);
  allocated(kBegin + 96, 4);
  EXPECT_EQ(find(kBegin + 99).address, kBegin + 96);
  EXPECT_EQ(find(kBegin + 100).address, 0u);
  allocated(kBegin + 88, 1 << 20);
  EXPECT_EQ(find(kBegin + 96).address, kBegin + 88);
}

TEST(Pools, AreAtMost64AndBeginEmptyWhereOthersWere) {
  for (int round = 0; round < 3; ++round) {
    for (uintptr_t n = 0; n < 64; ++n) {
      ASSERT_TRUE(create(kBegin + n * kSize, kSize));
      EXPECT_EQ(find(kBegin + n * kSize).address, 0u);
      allocated(kBegin + n * kSize, kSize);
    }
    EXPECT_FALSE(create(kBegin - kSize, kSize));
    for (uintptr_t n = 0; n < 64; ++n) destroy(kBegin + n * kSize);
    EXPECT_FALSE(any());
  }
  EXPECT_FALSE(create(0, 8));
  EXPECT_FALSE(create(kBegin, 0));
  destroy(kBegin);
}

TEST(Pools, MayComeAndGoWhileOthersLook) {
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&] {
      while (!done)
        for (uintptr_t at = 0; at < kSize; at += 4096) {
          const Object object = find(kBegin + at);
          ASSERT_TRUE(object.address == 0 || object.size == 24);
          allocated(kBegin + at, 24);
          static_cast<void>(freed(kBegin + at));
        }
    });
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(create(kBegin, i % 2 == 0 ? kSize : kSize / 2));
    destroy(kBegin);
  }
  done = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace poireau::pools
