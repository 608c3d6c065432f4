#include "tracked_alloc/records.h"

#include <gtest/gtest.h>

#include <vector>

namespace poireau::tracked_alloc::records {
namespace {

class Records : public testing::Test {
 protected:
  static void SetUpTestSuite() { begin({.seed = 1}); }

  region::Id live(uintptr_t address, size_t size) {
    region::Id id{};
    EXPECT_TRUE(open({size, 16, 7, false, {1, 1, 0, 1, 1, 1}}, id));
    EXPECT_EQ(settle(id, reinterpret_cast<void*>(address)).block, reinterpret_cast<void*>(address));
    return id;
  }
  void die(region::Id id, uintptr_t address) {
    Claim claim;
    ASSERT_TRUE(records::claim(id, address, claim));
    EXPECT_FALSE(records::claim(id, address, claim));  // by nobody else
    finish(claim, {5, 6, 7});
  }
  constexpr static uintptr_t kSomewhere = region::kRemap;  // never looked at
};

TEST_F(Records, NotesNameThem) {
  const region::Id id = live(kSomewhere, 10);
  const remap::Note note = note_of(id, 200);
  region::Id named{};
  EXPECT_TRUE(is_sample(note) && id_of(note, named));
  EXPECT_EQ(note >> remap::kNoteBits, 0u);
  EXPECT_EQ(note >> kKindAt & 0xff, 200u);
  EXPECT_EQ(named.packed(), id.packed());
  EXPECT_FALSE(is_sample(0) || is_sample(1) || is_sample(remap::Note{1} << 47));
  die(id, kSomewhere);
}

TEST_F(Records, AreCountedWhileTheirBlocksLiveAndKnownLonger) {
  const Census before = census();
  const region::Id id = live(kSomewhere, 1000);
  EXPECT_EQ(census().live_bytes, before.live_bytes + 1000);
  Block known;
  ASSERT_TRUE(find(id, kSomewhere, known) && known.live);
  EXPECT_FALSE(find(id, kSomewhere + 16, known));
  die(id, kSomewhere);
  EXPECT_EQ(census().live_bytes, before.live_bytes);
  ASSERT_TRUE(find(id, kSomewhere, known) && !known.live);
  EXPECT_EQ(known.size, 1000u);
  EXPECT_EQ(known.death.stack, 7u);
}

TEST_F(Records, GoWhenThereIsNoBlock) {
  const uint64_t born = census().placed;
  region::Id id{};
  ASSERT_TRUE(open({10, 16, 7, false, {1, 1, 0, 1, 1, 1}}, id));
  EXPECT_EQ(settle(id, nullptr).block, nullptr);
  Block known;
  EXPECT_FALSE(find(id, 0x1000, known));
  EXPECT_EQ(census().placed, born);
}

TEST_F(Records, OfTheLastThatEndedAreKept) {
  const region::Id first = live(kSomewhere, 8);
  die(first, kSomewhere);
  const uint64_t slots = region::slots();
  Block known;
  for (uintptr_t i = 1; i < 200'000; ++i) die(live(kSomewhere + i * 4096, 8), kSomewhere + i * 4096);
  EXPECT_LT(region::slots() - slots, 120'000u);
  unsigned kept = 0;
  region::for_each([&kept](region::Id, Record& record) { kept += record.state() == State::freed; });
  EXPECT_EQ(kept, 65536u);
}

TEST_F(Records, HaveNothingAroundThem) {
  const region::Id id = live(kSomewhere, 8);
  Claim claim;
  ASSERT_TRUE(records::claim(id, kSomewhere, claim));
  const Slack slack = inspect(claim);
  EXPECT_TRUE(slack.before.first == 0 && slack.behind.first == 0);
  finish(claim, {5, 6, 7});
}

}  // namespace
}  // namespace poireau::tracked_alloc::records
