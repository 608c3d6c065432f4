#include "tracked_alloc/placement.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "preload/base/random.h"

namespace poireau::tracked_alloc::placement {
namespace {

constexpr size_t kPage = 4096;
constexpr uintptr_t kBegin = (uintptr_t{1} << 45) + kPage;

TEST(Placement, FitsIsAlignedAndTouchesAGuardWhereverItIsPut) {
  Random random{1};
  for (int i = 0; i < 1'000'000; ++i) {
    const size_t alignment = size_t{16} << multiply_high(10, random.next());
    const size_t size = random.next() >> (44 + multiply_high(20, random.next()));
    const Wish wish{size, alignment, (random.next() & 1) != 0};
    const size_t pages = pages_for(wish);
    const unsigned size_class = class_for(wish, pages, 20);
    ASSERT_LT(size_class, 20u);
    const size_t room = kPage << size_class;
    const Spot spot = place(wish, pages, kBegin, room, random.next());
    ASSERT_GE(spot.home, kBegin);
    ASSERT_LE(spot.home + pages * kPage, kBegin + room);
    ASSERT_EQ(spot.home % home_alignment(wish), 0u);
    ASSERT_EQ(spot.block % alignment, 0u) << size << ' ' << alignment;
    ASSERT_GE(spot.block, spot.home);
    ASSERT_LE(spot.block + size, spot.home + pages * kPage);
    if (wish.guarded && size != 0 && alignment <= kPage) {
      const size_t behind = spot.home + pages * kPage - spot.block - size;
      ASSERT_TRUE(spot.block == spot.home || behind < alignment) << size << ' ' << alignment;
    }
  }
}

TEST(Placement, PutsGuardedBlocksAgainstEitherGuardEquallyOften) {
  Random random{2};
  int behind = 0;
  const int trials = 100'000;
  for (int i = 0; i < trials; ++i) {
    const Spot spot = place({64, 16, true}, 1, kBegin, kPage, random.next());
    behind += spot.block != spot.home;
  }
  EXPECT_NEAR(behind, trials / 2, 6 * std::sqrt(trials / 4.0));
}

TEST(Placement, FloatsHomesByWholePagesInTheirSlots) {
  Random random{3};
  std::set<uintptr_t> homes;
  for (int i = 0; i < 1000; ++i) homes.insert(place({5 * kPage, 16, true}, 5, kBegin, 8 * kPage, random.next()).home);
  EXPECT_EQ(homes, (std::set{kBegin, kBegin + kPage, kBegin + 2 * kPage, kBegin + 3 * kPage}));
}

TEST(Placement, KeepsBlocksForHugePagesAligned) {
  Random random{4};
  for (int i = 0; i < 1000; ++i) {
    const size_t size = (size_t{2} << 20) + multiply_high(100 << 20, random.next());
    const Wish wish{size, 16, true};
    EXPECT_EQ(place(wish, pages_for(wish), kBegin, size_t{1} << 30, random.next()).home % (2 << 20), 0u);
  }
}

TEST(Placement, RefusesWhatNobodyCanHave) {
  EXPECT_EQ(pages_for({SIZE_MAX, 16, true}), 0u);
  EXPECT_EQ(pages_for({16, size_t{1} << 63, true}), 0u);
  EXPECT_EQ(pages_for({0, 16, true}), 1u);
}

}  // namespace
}  // namespace poireau::tracked_alloc::placement
