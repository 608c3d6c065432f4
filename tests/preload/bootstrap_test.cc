#include "preload/bootstrap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/base/sys.h"
#include "tracked_alloc/tracked_alloc.h"

namespace poireau {
namespace {

// First, while the arena is not mapped yet.
TEST(Bootstrap, AFailingSystemCallIsAFailedRequestAndTheNextOneIsServed) {
  fault::for_each_fault([] {
    if (void* block = bootstrap::allocate(100, 16)) bootstrap::release(block);
  });
  void* block = bootstrap::allocate(100, 16);
  ASSERT_NE(block, nullptr);
  bootstrap::release(block);
}

TEST(Bootstrap, LiesInTheRegionZeroedAndAligned) {
  tracked_alloc::region_floor = tracked_alloc::kRegionFloor;
  for (size_t alignment = 1; alignment <= 65536; alignment *= 4)
    for (const size_t size : {0u, 1u, 1000u}) {
      auto* block = static_cast<unsigned char*>(bootstrap::allocate(size, alignment));
      ASSERT_NE(block, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(block) % std::max<size_t>(alignment, 16), 0u);
      EXPECT_TRUE(tracked_alloc::owns(block));
      EXPECT_TRUE(bootstrap::contains(block));
      EXPECT_EQ(bootstrap::size_of(block), size);
      for (size_t i = 0; i < size; ++i) ASSERT_EQ(block[i], 0);
      std::memset(block, 0xff, size);
      bootstrap::release(block);
    }
}

TEST(Bootstrap, TakesBackTheNewestBlockForEver) {
  void* const first = bootstrap::allocate(1000, 16);
  bootstrap::release(first);
  for (int i = 0; i < 100'000; ++i) {
    void* const block = bootstrap::allocate(1000, 16);
    ASSERT_EQ(block, first);
    bootstrap::release(block);
  }
}

TEST(Bootstrap, IsFullWithoutHarmAndRefusesTheAbsurd) {
  for (const size_t size : {size_t{2} << 20, SIZE_MAX, SIZE_MAX - 15})
    EXPECT_EQ(bootstrap::allocate(size, 16), nullptr);
  EXPECT_EQ(bootstrap::allocate(1, SIZE_MAX / 2 + 1), nullptr);
  std::vector<void*> blocks;
  while (void* block = bootstrap::allocate(10'000, 16)) blocks.push_back(block);
  EXPECT_GT(blocks.size(), 90u);
  while (!blocks.empty()) {
    bootstrap::release(blocks.back());
    blocks.pop_back();
  }
  EXPECT_NE(bootstrap::allocate(10'000, 16), nullptr);
}

TEST(Bootstrap, GivesNoByteToTwoThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      for (int i = 0; i < 2000; ++i) {
        auto* block = static_cast<unsigned char*>(bootstrap::allocate(24, 16));
        if (block == nullptr) return;
        std::memset(block, t, 24);
        for (int j = 0; j < 24; ++j) ASSERT_EQ(block[j], t);
        if (i % 2 == 0) bootstrap::release(block);
      }
    });
  for (auto& thread : threads) thread.join();
}

TEST(Region, IsExactlyTheSecondQuarterOfTheAddressesOfAProgram) {
  tracked_alloc::region_floor = tracked_alloc::kRegionFloor;
  auto owns = [](uintptr_t address) { return tracked_alloc::owns(reinterpret_cast<void*>(address)); };
  constexpr uintptr_t begin = tracked_alloc::kRegion, end = begin + tracked_alloc::kRegionSize;
  for (const uintptr_t address : {begin, begin + 1, begin + (end - begin) / 2, end - 1}) EXPECT_TRUE(owns(address));
  for (const uintptr_t address : {uintptr_t{0}, uintptr_t{1}, begin - 1, end, uintptr_t{0x555555554000},
                                  uintptr_t{0x7fffffffffff}, uintptr_t{1} << 46})
    EXPECT_FALSE(owns(address)) << std::hex << address;
  int on_stack;
  EXPECT_FALSE(tracked_alloc::owns(&on_stack));
  tracked_alloc::region_floor = tracked_alloc::kEverything;
  for (const uintptr_t address : {uintptr_t{0}, begin, uintptr_t{0x555555554000}, uintptr_t{0x7fffffffffff}})
    EXPECT_TRUE(owns(address)) << "before the real functions are known";
  tracked_alloc::region_floor = tracked_alloc::kRegionFloor;
}

}  // namespace
}  // namespace poireau
