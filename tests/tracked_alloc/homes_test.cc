#include "tracked_alloc/homes.h"

#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/base/random.h"
#include "tracked_alloc/ration.h"

namespace poireau::tracked_alloc {
namespace {

using pages::Mechanism;

constexpr Policy kGuardAll{ration::kAll, 2'000'000'000, {size_t{1} << 30, 65536, 0}, 32 << 20, false};

Policy policy_of(uint64_t guard) {
  Policy policy = kGuardAll;
  policy.guard = guard;
  return policy;
}

/// Each test in a process of its own: homes are made ready but once.
class Homes : public testing::TestWithParam<Mechanism> {
 protected:
  template <typename Body>
  void alone(Body&& body, Placement placement = Placement::slots) {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      begin({.placement = placement, .mechanism = GetParam(), .keep = 1 << 20, .seed = 42});
      EXPECT_EQ(mechanism(), GetParam());
      region_floor = kRegionFloor;
      body();
      fflush(stdout);
      _exit(testing::Test::HasFailure() ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
};

Wanted wanted(size_t size, size_t alignment = 16) { return {size, alignment, 0, false, {1, 1, 1, 1, 1}}; }

sigjmp_buf fault;
bool faults(const volatile char* at) {
  struct sigaction action {};
  action.sa_handler = [](int) { siglongjmp(fault, 1); };
  sigaction(SIGSEGV, &action, nullptr);
  sigaction(SIGBUS, &action, nullptr);
  if (sigsetjmp(fault, 1) != 0) return true;
  static_cast<void>(*at);
  return false;
}

Death now(uint64_t time = cpu::ticks()) { return {time, 1, 1}; }

/// Seeded operations of two threads against a model: blocks never overlap, are aligned, hold what was written.
void model(const Policy& policy, int operations) {
  std::mutex lock;
  std::map<uintptr_t, size_t> blocks;  // address -> size
  const auto body = [&](uint64_t seed) {
    Random random{seed};
    std::vector<std::pair<char*, size_t>> mine;
    for (int i = 0; i < operations; ++i) {
      if (mine.size() < 50 || (mine.size() < 200 && (random.next() & 1) != 0)) {
        const size_t size = random.next() >> (45 + multiply_high(19, random.next()));
        const size_t alignment = size_t{16} << multiply_high(9, random.next());
        const Home home = allocate(wanted(size, alignment), policy);
        if (home.block == nullptr) continue;
        char* const block = static_cast<char*>(home.block);
        const uintptr_t address = reinterpret_cast<uintptr_t>(block);
        ASSERT_TRUE(owns(block));
        ASSERT_EQ(address % alignment, 0u);
        {
          const std::lock_guard held(lock);
          const auto after = blocks.lower_bound(address);
          if (after != blocks.end()) ASSERT_LE(address + size, after->first);
          if (after != blocks.begin()) ASSERT_LE(std::prev(after)->first + std::prev(after)->second, address);
          blocks.emplace(address, size);
        }
        if (size != 0) block[0] = block[size - 1] = static_cast<char>(address >> 4);
        mine.emplace_back(block, size);
      } else {
        const size_t which = multiply_high(mine.size(), random.next());
        auto [block, size] = mine[which];
        mine[which] = mine.back();
        mine.pop_back();
        size_t measured = 0;
        ASSERT_TRUE(measure(block, measured));
        ASSERT_EQ(measured, size);
        if (size != 0) {
          ASSERT_EQ(block[0], static_cast<char>(reinterpret_cast<uintptr_t>(block) >> 4));
          ASSERT_EQ(block[size - 1], block[0]);
        }
        const Claim got = claim(block);
        ASSERT_EQ(got.found, Claim::Found::block);
        ASSERT_EQ(claim(block).found, Claim::Found::busy);
        const Slack slack = inspect(got);
        ASSERT_EQ(slack.before.first, 0u);
        ASSERT_EQ(slack.behind.first, 0u);
        {
          const std::lock_guard held(lock);
          blocks.erase(reinterpret_cast<uintptr_t>(block));
        }
        finish(got, now(), policy);
      }
    }
    for (auto [block, size] : mine) {
      const Claim got = claim(block);
      ASSERT_EQ(got.found, Claim::Found::block);
      {
        const std::lock_guard held(lock);
        blocks.erase(reinterpret_cast<uintptr_t>(block));
      }
      finish(got, now(), policy);
    }
  };
  std::thread other(body, 1);
  body(2);
  other.join();
  ASSERT_EQ(census().live, 0u);
  ASSERT_GT(census().placed, static_cast<uint64_t>(operations) / 2);
}

constexpr int kOperations = 100'000;

TEST_P(Homes, GuardedOnesAreAsTheModelSays) {
  alone([] { model(kGuardAll, kOperations / 4); });
}
TEST_P(Homes, PlainOnesAreAsTheModelSays) {
  alone([] { model(policy_of(ration::kNone), kOperations); });
}
TEST_P(Homes, MixedOnesAreAsTheModelSays) {
  alone([] { model(policy_of(ration::kGoverned), kOperations); });
}
TEST_P(Homes, GibHomesAreAsTheModelSays) {
  alone([] { model(kGuardAll, kOperations / 20); }, Placement::gib);
  alone([] { model(policy_of(ration::kNone), kOperations / 20); }, Placement::gib);
}

TEST_P(Homes, FreedGuardedBlocksFaultAndSoDoTheirSurroundings) {
  alone([] {
    for (const size_t size : {1ul, 16ul, 100ul, 4000ul, 4096ul, 10'000ul, 300'000ul, 5'000'000ul}) {
      char* const block = static_cast<char*>(allocate(wanted(size), kGuardAll).block);
      ASSERT_NE(block, nullptr);
      std::memset(block, 1, size);
      const Claim got = claim(block);
      ASSERT_TRUE(got.block.guarded) << size;
      const char* const first = reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(block) & -4096ul);
      const char* const last = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(block) + size + 4095) & -4096ul);
      EXPECT_TRUE(faults(first - 1)) << size;
      EXPECT_TRUE(faults(last)) << size;
      EXPECT_EQ(judge_access(reinterpret_cast<uintptr_t>(first) - 1).finding, Finding::underflow) << size;
      EXPECT_EQ(judge_access(reinterpret_cast<uintptr_t>(last)).finding, Finding::overflow) << size;
      EXPECT_EQ(judge_access(reinterpret_cast<uintptr_t>(block)).finding, Finding::open) << size;
      finish(got, now(), kGuardAll);
      EXPECT_TRUE(faults(block)) << size;
      EXPECT_TRUE(faults(block + size - 1)) << size;
      const Verdict verdict = judge_access(reinterpret_cast<uintptr_t>(block) + size / 2);
      EXPECT_EQ(verdict.finding, Finding::use_after_free);
      EXPECT_EQ(verdict.block.size, size);
      EXPECT_EQ(verdict.offset, static_cast<ptrdiff_t>(size / 2));
      EXPECT_EQ(claim(block).found, Claim::Found::freed);
      EXPECT_TRUE(let_through(reinterpret_cast<uintptr_t>(block)));
      EXPECT_FALSE(faults(block));
      EXPECT_EQ(*block, 1) << size;
      EXPECT_EQ(judge_access(reinterpret_cast<uintptr_t>(block)).finding, Finding::open);
    }
  });
}

TEST_P(Homes, ChangedSlackShows) {
  alone([] {
    for (const uint64_t guard : {ration::kAll, ration::kNone}) {
      for (int i = 0; i < 64; ++i) {
        char* const block = static_cast<char*>(allocate(wanted(20), policy_of(guard)).block);
        ASSERT_NE(block, nullptr);
        const Claim got = claim(block);
        ASSERT_EQ(inspect(got).behind.first, 0u);
        block[20] = 0;
        EXPECT_EQ(inspect(got).behind.first, reinterpret_cast<uintptr_t>(block) + 20);
        EXPECT_EQ(inspect(got).behind.bytes, 1u);
        EXPECT_EQ(inspect(got).before.first, 0u);
        finish(got, now(), policy_of(guard));
      }
    }
  });
}

TEST_P(Homes, ResizesInPlaceWhereThereIsRoom) {
  alone([] {
    int resized = 0;
    for (int i = 0; i < 100; ++i) {
      char* const block = static_cast<char*>(allocate(wanted(100), kGuardAll).block);
      const Claim got = claim(block);
      block[99] = 7;
      if (resize(got, wanted(1000))) {
        ++resized;
        size_t size;
        ASSERT_TRUE(measure(block, size));
        EXPECT_EQ(size, 1000u);
        std::memset(block + 100, 1, 900);
        EXPECT_EQ(block[99], 7);
        EXPECT_EQ(inspect(claim(block)).behind.first, 0u);
      } else {
        put_back(got);
      }
    }
    EXPECT_GT(resized, 20);
    EXPECT_LT(resized, 80);
  });
}

TEST_P(Homes, WhatMayBeUsedBeyondTheSizeIsTheBlocks) {
  for (const uint64_t guard : {ration::kAll, ration::kNone}) {
    alone([guard] {
      for (size_t size = 0; size < 20000; size = size * 3 / 2 + 1) {
        for (const size_t room : {size, size + 7, size + size / 4 + 16, 3 * size}) {
          Wanted its = wanted(size);
          its.zeroed = true;
          its.room = room;
          char* const block = static_cast<char*>(allocate(its, policy_of(guard)).block);
          size_t usable = 0;
          ASSERT_TRUE(measure(block, usable));
          ASSERT_EQ(usable, room);
          ASSERT_EQ(std::count(block, block + room, 0), static_cast<ptrdiff_t>(room));
          std::memset(block, 7, room);
          Claim got = claim(block);
          ASSERT_EQ(got.block.size, size);
          ASSERT_EQ(inspect(got).behind.first, 0u);
          put_back(got);
          if (guard == ration::kNone) {
            block[room] ^= 1;
            got = claim(block);
            ASSERT_EQ(inspect(got).behind.first, reinterpret_cast<uintptr_t>(block + room));
          } else {
            got = claim(block);
          }
          finish(got, now(), policy_of(guard));
        }
      }
      EXPECT_EQ(census().live, 0u);
    });
  }
}

TEST_P(Homes, AGuardedBlocksFaultsBeginBehindItsRoom) {
  if (GetParam() == Mechanism::none) return;
  alone([] {
    int against_the_guard = 0;
    for (int i = 0; i < 100; ++i) {
      Wanted its = wanted(4000);
      its.room = 4080;
      const auto* const block = static_cast<char*>(allocate(its, kGuardAll).block);
      ASSERT_FALSE(faults(block + 4079));
      if (!faults(block + 4096)) continue;
      const Verdict verdict = judge_access(reinterpret_cast<uintptr_t>(block) + 4096);
      if (reinterpret_cast<uintptr_t>(block) % 4096 != 16) continue;
      ++against_the_guard;
      EXPECT_EQ(verdict.finding, Finding::overflow);
      EXPECT_EQ(verdict.block.size, 4000u);
      EXPECT_TRUE(faults(block + 4080));
    }
    EXPECT_GT(against_the_guard, 20);
  });
}

TEST_P(Homes, AResizeInPlaceChangesTheRoomToo) {
  alone([] {
    int resized = 0;
    for (int i = 0; i < 100; ++i) {
      Wanted its = wanted(100);
      its.room = 112;
      char* const block = static_cast<char*>(allocate(its, kGuardAll).block);
      std::memset(block, 5, 112);
      its = wanted(1000);
      its.room = 1024;
      its.zeroed = true;
      const Claim got = claim(block);
      if (!resize(got, its)) {
        put_back(got);
        continue;
      }
      ++resized;
      size_t usable = 0;
      ASSERT_TRUE(measure(block, usable));
      EXPECT_EQ(usable, 1024u);
      EXPECT_EQ(std::count(block, block + 112, 5), 112);
      EXPECT_EQ(std::count(block + 112, block + 1024, 0), 1024 - 112);
      EXPECT_EQ(inspect(claim(block)).behind.first, 0u);
      EXPECT_EQ(census().live_bytes,
                100u * static_cast<unsigned>(i + 1 - resized) + 1000u * static_cast<unsigned>(resized));
    }
    EXPECT_GT(resized, 20);
  });
}

TEST_P(Homes, LargeBlocksGrowAndShrinkWhereTheyAre) {
  for (const uint64_t guard : {ration::kAll, ration::kNone}) {
    alone([guard] {
      constexpr size_t kStep = 100'000;
      char* block = static_cast<char*>(allocate(wanted(20 * kStep), policy_of(guard)).block);
      int moves = 0;
      size_t size = 20 * kStep;
      std::memset(block, 1, size);
      for (; size < 1000 * kStep; size += kStep) {
        const Claim got = claim(block);
        ASSERT_EQ(inspect(got).behind.first, 0u);
        if (!resize(got, wanted(size + kStep))) {
          char* const moved = static_cast<char*>(allocate(wanted(size + kStep), policy_of(guard)).block);
          std::memcpy(moved, block, size);
          finish(got, now(), policy_of(guard));
          block = moved;
          ++moves;
        }
        ASSERT_EQ(block[size - 1], 1);
        std::memset(block + size, 1, kStep);
      }
      EXPECT_LT(moves, 4);
      const Claim got = claim(block);
      ASSERT_TRUE(resize(got, wanted(30 * kStep)));
      EXPECT_EQ(block[30 * kStep - 1], 1);
      EXPECT_EQ(inspect(claim(block)).behind.first, 0u);
      EXPECT_TRUE(faults(block + 30 * kStep + 2 * 4096));
    });
  }
}

TEST_P(Homes, AClassIsTheBitsOfSizeAndPeriod) {
  const auto birth = [](uint64_t period, bool by_calls = false) {
    Birth made{};
    made.period = period;
    made.by_calls = by_calls;
    return made;
  };
  EXPECT_EQ(class_of(100, birth(4096)), class_of(127, birth(8191)));
  EXPECT_NE(class_of(100, birth(4096)), class_of(100, birth(8192)));
  EXPECT_NE(class_of(100, birth(1)), class_of(100, birth(2)));
  EXPECT_LT(class_of(SIZE_MAX, birth(UINT64_MAX)), kClasses);
  EXPECT_EQ(period_in_bytes(100, birth(16, true)), 1600u);
  EXPECT_EQ(period_in_bytes(0, birth(16, true)), 16u);
  EXPECT_EQ(period_in_bytes(UINT64_MAX, birth(uint64_t{1} << 40, true)), uint64_t{1} << 50);
}

TEST_P(Homes, TheCensusIsByClass) {
  alone([] {
    Random random{7};
    std::vector<std::pair<void*, Wanted>> blocks;
    const auto agree = [&blocks] {
      std::vector<Share> model(kClasses);
      Census sum{};
      for (const auto& [block, its] : blocks) {
        Share& share = model[class_of(its.size, its.birth)];
        share.blocks += 1;
        share.bytes += its.size;
        share.periods += period_in_bytes(its.size, its.birth);
        sum.live += 1;
        sum.live_bytes += its.size;
      }
      for (unsigned n = 0; n < kClasses; ++n) {
        EXPECT_EQ(share_of(n).blocks, model[n].blocks) << n;
        EXPECT_EQ(share_of(n).bytes, model[n].bytes) << n;
        EXPECT_EQ(share_of(n).periods, model[n].periods) << n;
      }
      EXPECT_EQ(census().live, sum.live);
      EXPECT_EQ(census().live_bytes, sum.live_bytes);
    };
    uint64_t placed = 0;
    int resized = 0;
    for (int i = 0; i < 3000; ++i) {
      Wanted its = wanted(random.next() >> (44 + multiply_high(20, random.next())));
      its.birth.period = 1 + random.next() % 1000;
      its.birth.by_calls = random.next() % 2 != 0;
      if (random.next() % 3 != 0 || blocks.empty()) {
        void* const block = allocate(its, policy_of(i % 2 == 0 ? ration::kAll : ration::kNone)).block;
        ASSERT_NE(block, nullptr);
        blocks.emplace_back(block, its);
        ++placed;
        continue;
      }
      auto& [block, old] = blocks[random.next() % blocks.size()];
      const Claim got = claim(block);
      if (resize(got, its)) {
        old = its;
        ++resized;
        continue;
      }
      finish(got, now(), kGuardAll);
      std::swap(blocks.back(),
                *std::find_if(blocks.begin(), blocks.end(), [at = block](auto& b) { return b.first == at; }));
      blocks.pop_back();
    }
    EXPECT_GT(resized, 100);
    EXPECT_EQ(census().placed, placed);
    agree();
    const pid_t child = fork();
    if (child == 0) {
      agree();
      _exit(HasFailure() ? 1 : 0);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);

    std::map<uintptr_t, int> seen;
    region::Id at{};
    int parts = 1;
    while (for_some_live(at, 100, [&seen](const Claim& each) { ++seen[each.block.address]; })) ++parts;
    EXPECT_GT(parts, 10);
    EXPECT_EQ(seen.size(), blocks.size());
    for (const auto& [block, its] : blocks) EXPECT_EQ(seen[reinterpret_cast<uintptr_t>(block)], 1);
    for (const auto& [block, its] : blocks) finish(claim(block), now(), kGuardAll);
    blocks.clear();
    agree();
  });
}

TEST_P(Homes, DamageIsKnownTheSecondTime) {
  alone([] {
    const Policy policy = policy_of(ration::kNone);
    for (int i = 0; i < 100; ++i) {  // its home has had damage before
      char* const block = static_cast<char*>(allocate(wanted(20), policy).block);
      Claim got = claim(block);
      EXPECT_FALSE(inspect(got).known);
      block[20] ^= 1;
      EXPECT_FALSE(inspect(got).known);
      put_back(got);
      got = claim(block);
      EXPECT_TRUE(inspect(got).known);
      EXPECT_NE(inspect(got).behind.first, 0u);
      finish(got, now(), policy);
    }
  });
}

TEST_P(Homes, WhereAllHomesAreInQuarantineTheOldestLeave) {
  constexpr int kBlocks = 14'000;  // more than there may be GiB homes
  alone(
      [] {
        for (int i = 0; i < kBlocks; ++i) {
          const Home home = allocate(wanted(16), kGuardAll);
          ASSERT_NE(home.block, nullptr) << i;
          const Claim got = claim(home.block);
          ASSERT_TRUE(got.block.guarded) << i;
          finish(got, now(), kGuardAll);
        }
      },
      Placement::gib);
}

TEST_P(Homes, APageLetThroughAfterQuarantineIsNoHomeAnyMore) {
  alone([] {
    Policy policy = kGuardAll;
    policy.quarantine.homes = 0;
    char* const block = static_cast<char*>(allocate(wanted(4000), policy).block);
    const Claim got = claim(block);
    finish(got, now(), policy);
    ASSERT_TRUE(let_through(reinterpret_cast<uintptr_t>(block)));
    std::memset(block, 1, 4000);
    for (int i = 0; i < 5000; ++i) {
      char* const other = static_cast<char*>(allocate(wanted(4000), policy).block);
      ASSERT_NE(other, nullptr);
      ASSERT_NE((reinterpret_cast<uintptr_t>(other) ^ reinterpret_cast<uintptr_t>(block)) / 4096, 0u);
      finish(claim(other), now(), policy);
    }
  });
}

TEST_P(Homes, WhatTheProgramDidToItsPagesRightsEndsWithItsBlock) {
  alone([] {
    for (const uint64_t guard : {ration::kAll, ration::kNone}) {
      for (int i = 0; i < 5; ++i) {
        constexpr size_t kSize = 4 << 20;
        char* const block = static_cast<char*>(allocate(wanted(kSize, 4096), policy_of(guard)).block);
        std::memset(block, 1, kSize);
        ASSERT_EQ(mprotect(block, kSize, PROT_NONE), 0);
        finish(claim(block), now(), policy_of(guard));
      }
    }
  });
}

TEST_P(Homes, StrangersInTheRegionStayStrangers) {
  alone([] {
    ASSERT_NE(allocate(wanted(16), kGuardAll).block, nullptr);
    for (const uintptr_t at : {kRegion + (size_t{64} << 20), region::kGibs + 3 * region::kGib + 4096}) {
      void* const got = mmap(reinterpret_cast<void*>(at), 4 << 20, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
      ASSERT_EQ(got, reinterpret_cast<void*>(at));
      EXPECT_TRUE(owns(got));
      EXPECT_EQ(claim(got).found, Claim::Found::strangers);
      EXPECT_EQ(judge_access(at).finding, Finding::not_ours);
    }
    // The area goes on behind them.
    uintptr_t farthest = 0;
    for (int i = 0; i < 20'000; ++i) {
      void* const block = allocate(wanted(16), policy_of(ration::kNone)).block;
      ASSERT_NE(block, nullptr) << i;
      ASSERT_FALSE(reinterpret_cast<uintptr_t>(block) - (kRegion + (size_t{64} << 20)) < (size_t{4} << 20));
      farthest = std::max(farthest, reinterpret_cast<uintptr_t>(block));
    }
    EXPECT_GT(farthest, kRegion + (size_t{68} << 20));
  });
}

TEST_P(Homes, TheQuarantineKeepsItsBudgets) {
  alone([] {
    Policy policy = kGuardAll;
    policy.quarantine = {size_t{1} << 30, 10, 0};
    for (int i = 0; i < 1000; ++i) finish(claim(allocate(wanted(16), policy).block), now(), policy);
    EXPECT_LE(quarantine::homes(), 10u);
    policy.quarantine = {8 * 4096, 1000, 0};
    for (int i = 0; i < 1000; ++i) finish(claim(allocate(wanted(16), policy).block), now(), policy);
    EXPECT_LE(quarantine::bytes(), 8 * 4096u);
    policy.quarantine = {size_t{1} << 30, 1000, 1000};
    const uint64_t start = cpu::ticks() + 1'000'000'000;
    for (uint64_t time = start; time < start + 100'000; time += 100)
      finish(claim(allocate(wanted(16), policy).block), now(time), policy);
    EXPECT_LE(quarantine::homes(), 12u);
  });
}

#ifdef POIREAU_FAULTS
TEST_P(Homes, EverySystemCallMayFail) {
  alone([] {
    for (const uint64_t guard : {ration::kAll, ration::kNone}) {
      for (const size_t size : {16ul, 40'000ul, 3'000'000ul}) {
        for (int again = 0; again < 2; ++again) {
          const int calls = fault::for_each_fault([&] {
            const Policy policy = policy_of(guard);
            const Home home = allocate(wanted(size), policy);
            if (home.block == nullptr) {
              EXPECT_TRUE(home.drop == Drop::memory) << size;
              return;
            }
            std::memset(home.block, 1, size);
            finish(claim(home.block), now(), policy);
            EXPECT_EQ(claim(home.block).found, Claim::Found::freed);
          });
          EXPECT_GE(calls, 0);
        }
      }
    }
    EXPECT_EQ(census().live, 0u);
    model(kGuardAll, 1000);
  });
}
#endif

INSTANTIATE_TEST_SUITE_P(Every, Homes, testing::Values(Mechanism::markers, Mechanism::userfaultfd, Mechanism::mprotect),
                         [](const auto& info) { return std::string(pages::name_of(info.param)); });

}  // namespace
}  // namespace poireau::tracked_alloc
