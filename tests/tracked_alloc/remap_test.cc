#include "tracked_alloc/remap.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <random>
#include <span>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/marks.h"
#include "tracked_alloc/noise.h"

namespace poireau::tracked_alloc::remap {
namespace {

constexpr size_t kPage = 4096;

/// Each begins anew, in a process of its own: what `begin` was told holds for its life.
int status_of(const std::function<void()>& body) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(600);
    body();
    fflush(nullptr);
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

void in_child(const Settings& settings, const std::function<void()>& body) {
  EXPECT_EQ(status_of([&] {
              noise::begin(1);
              ASSERT_TRUE(begin(settings));
              body();
            }),
            0);
}

void* place(size_t size, Note born = 1, size_t alignment = 16, bool zeroed = false, unsigned stripe = 0) {
  return allocate({size, alignment, born, zeroed}, stripe);
}
Death bury(void* ptr, Note died = 2, Closing closing = {.now = false}) { return release(ptr, died, closing); }
bool can_read(const void* ptr) {
  return sys::readable(reinterpret_cast<const void*>(reinterpret_cast<uintptr_t>(ptr) & ~uintptr_t{7}));
}
uintptr_t number(const void* ptr) { return reinterpret_cast<uintptr_t>(ptr); }

/// Writes to all of it what only this block has.
unsigned char colour(const void* ptr, size_t at) {
  return static_cast<unsigned char>(scramble(number(ptr) + at / 64) >> at % 8 * 8);
}
void paint(void* ptr, size_t size) {
  for (size_t i = 0; i < size; ++i) static_cast<unsigned char*>(ptr)[i] = colour(ptr, i);
}
bool is_painted(const void* ptr, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (static_cast<const unsigned char*>(ptr)[i] != colour(ptr, i)) return false;
  return true;
}

TEST(Remap, ABlockIsAlignedZeroedOnRequestAndHasNoiseBehindIt) {
  in_child({}, [] {
    for (size_t size = 0; size <= kMost; size = size < 300 ? size + 1 : size + size / 9) {
      for (size_t alignment = 16; alignment <= kMostAlignment; alignment *= 4) {
        for (int again = 0; again < 2; ++again) {
          void* const ptr = place(size, 5, alignment, true);
          ASSERT_NE(ptr, nullptr) << size;
          ASSERT_TRUE(owns(number(ptr)));
          ASSERT_EQ(number(ptr) % alignment, 0u);
          for (size_t i = 0; i < size; ++i) ASSERT_EQ(static_cast<char*>(ptr)[i], 0);
          ASSERT_EQ(room_of(ptr), size);
          paint(ptr, size);
          const unsigned char wrong = static_cast<unsigned char*>(ptr)[size] ^= 1;
          ASSERT_EQ(inspect(number(ptr)).first, number(ptr) + size);
          const Death death = bury(ptr);
          ASSERT_EQ(death.found, Death::Found::done);
          ASSERT_EQ(death.damage.first, number(ptr) + size);
          ASSERT_EQ(death.damage.bytes, 1u);
          ASSERT_EQ(death.found_bytes[0], wrong);
        }
      }
    }
    EXPECT_EQ(place(kMost + 1), nullptr);
    EXPECT_EQ(place(16, 1, 2 * kMostAlignment), nullptr);
    EXPECT_EQ(standing().refused[static_cast<size_t>(Refusal::size)], 2u);
  });
}

TEST(Remap, LiveBlocksShareNoByteAndNoPageOfAddresses) {
  in_child({}, [] {
    std::mt19937 random{7};
    std::vector<std::pair<char*, size_t>> live;
    for (int i = 0; i < 20'000; ++i) {
      if (live.size() > 1500 || (!live.empty() && random() % 3 == 0)) {
        std::swap(live[random() % live.size()], live.back());
        const auto [ptr, size] = live.back();
        live.pop_back();
        ASSERT_TRUE(is_painted(ptr, size));
        const Death death = bury(ptr, 9);
        ASSERT_EQ(death.found, Death::Found::done);
        ASSERT_EQ(death.damage.first, 0u);
        ASSERT_EQ(death.block.size, size);
      } else {
        const size_t size = random() % 8 != 0 ? random() % 300 : random() % 20000;
        char* const ptr = static_cast<char*>(place(size, 3));
        ASSERT_NE(ptr, nullptr);
        paint(ptr, size);
        live.emplace_back(ptr, size);
      }
    }
    for (const auto& [ptr, size] : live) ASSERT_TRUE(is_painted(ptr, size));
    size_t seen = 0;
    for_each_live([&](const Block& block) { seen += block.live; });
    EXPECT_EQ(seen, live.size());
    EXPECT_EQ(standing().live, live.size());
  });
}

TEST(Remap, ARunIsUnreadableWhenAllOfItIsDeadAndStaysKnown) {
  in_child({}, [] {
    std::vector<void*> blocks;
    for (int i = 0; i < 20'000; ++i) blocks.push_back(place(40, 100));
    for (void* ptr : blocks) ASSERT_EQ(bury(ptr, 200).found, Death::Found::done);
    size_t closed = 0;
    for (void* ptr : blocks) {
      const Answer answer = find(number(ptr) + 3);
      ASSERT_EQ(answer.found, Answer::Found::dead);
      ASSERT_EQ(answer.offset, 3);
      ASSERT_EQ(answer.block.size, 40u);
      ASSERT_EQ(answer.block.born, 100u);
      ASSERT_EQ(answer.block.died, 200u);
      ASSERT_EQ(answer.block.open, can_read(ptr));
      closed += !answer.block.open;
      ASSERT_EQ(bury(ptr).found, Death::Found::freed);
    }
    EXPECT_GT(closed, blocks.size() / 2);
    EXPECT_EQ(standing().moved, closed);
  });
}

TEST(Remap, AddressesAreNotUsedAgainAndMemoryIs) {
  in_child({}, [] {
    uintptr_t highest = 0;
    for (int i = 0; i < 200'000; ++i) {
      void* const ptr = place(64);
      std::memset(ptr, i, 64);
      ASSERT_EQ(bury(ptr).found, Death::Found::done);
      highest = std::max(highest, number(ptr));
    }
    EXPECT_GT(highest - kBegin, 100'000 * kPage);
    EXPECT_LT(standing().arena_bytes, 8u << 20);
  });
}

TEST(Remap, WhoFreesWhatIsNoBlockIsTold) {
  in_child({}, [] {
    char* const ptr = static_cast<char*>(place(100));
    EXPECT_EQ(bury(ptr + 16).found, Death::Found::inside);
    EXPECT_EQ(bury(ptr + 3000).found, Death::Found::nowhere);
    EXPECT_EQ(bury(ptr + 64 * kPage * 1000).found, Death::Found::nowhere);
    EXPECT_EQ(bury(reinterpret_cast<void*>(kBegin)).found, Death::Found::nowhere);
    EXPECT_EQ(bury(ptr).found, Death::Found::done);
    EXPECT_EQ(bury(ptr).found, Death::Found::freed);
    EXPECT_EQ(bury(ptr + 16).found, Death::Found::freed);
  });
}

TEST(Remap, EveryEngineClosesSingleBlocksAndTheirNeighboursLive) {
  for (const Engine wanted : {Engine::userfaultfd, Engine::markers, Engine::none}) {
    in_child({.engine = wanted}, [wanted] {
      if (engine() != wanted) return;  // not on this kernel
      std::mt19937 random{11};
      std::vector<std::pair<char*, size_t>> live, dead;
      for (int i = 0; i < 10'000; ++i) {
        const size_t size = random() % 16 != 0 ? random() % 500 : random() % kMost;
        char* const ptr = static_cast<char*>(place(size));
        ASSERT_NE(ptr, nullptr);
        paint(ptr, size);
        live.emplace_back(ptr, size);
        if (live.size() < 500) continue;
        std::swap(live[random() % live.size()], live.back());
        const Death death = bury(live.back().first, 2, {.now = true, .zero = random() % 2 == 0});
        ASSERT_EQ(death.found, Death::Found::done);
        ASSERT_TRUE(death.closed || wanted == Engine::none);
        if (death.closed) dead.push_back(live.back());
        live.pop_back();
      }
      for (const auto& [ptr, size] : live) ASSERT_TRUE(is_painted(ptr, size));
      for (const auto& [ptr, size] : dead) {
        ASSERT_FALSE(can_read(ptr));
        ASSERT_EQ(find(number(ptr)).found, Answer::Found::dead);
        ASSERT_FALSE(find(number(ptr)).block.open);
      }
      EXPECT_GT(dead.size(), wanted == Engine::none ? 50u : 9'000u);
      const Standing now = standing();
      EXPECT_EQ(now.live, live.size());
      EXPECT_TRUE(now.open_dead == 0 || wanted == Engine::none);
    });
  }
}

TEST(Remap, AClosedPageStaysClosedWhileItsRunIsMoved) {
  for (const Engine wanted : {Engine::userfaultfd, Engine::markers}) {
    in_child({.engine = wanted}, [wanted] {
      if (engine() != wanted) return;
      std::atomic<void*> closed{nullptr};
      std::atomic<bool> ended{false}, seen{false};
      std::thread watcher([&] {
        while (!ended)
          if (void* const ptr = closed; ptr != nullptr && can_read(ptr)) seen = true;
      });
      uint64_t moved = 0;
      for (int i = 0; i < 3000; ++i) {
        std::vector<void*> blocks;
        for (int n = 0; n < 64; ++n) blocks.push_back(place(3000));
        for (size_t n = 0; n < blocks.size(); ++n) {
          const bool now = n % 32 == 0;
          ASSERT_TRUE(bury(blocks[n], 2, {.now = now}).closed || !now);
          if (now) closed = blocks[n];
        }
        ASSERT_FALSE(can_read(closed));
        moved = standing().moved;
      }
      ended = true;
      watcher.join();
      EXPECT_GT(moved, 10'000u);
      EXPECT_FALSE(seen) << "a closed page could be read";
    });
  }
}

TEST(Remap, AClosedPageCanBeOpenedForGoodAndIsNeverUsedAgain) {
  in_child({}, [] {
    char* const alone = static_cast<char*>(place(64));
    std::memcpy(alone, "what it held", 13);
    if (bury(alone, 2, {.now = true}).closed) {
      ASSERT_FALSE(can_read(alone));
      ASSERT_TRUE(open_for_good(number(alone)));
      EXPECT_STREQ(alone, "what it held");
      EXPECT_TRUE(find(number(alone)).block.open);
    }
    std::vector<char*> blocks;
    for (int i = 0; i < 5000; ++i) blocks.push_back(static_cast<char*>(place(64)));
    for (char* ptr : blocks) ASSERT_EQ(bury(ptr).found, Death::Found::done);
    for (char* ptr : blocks) {
      if (can_read(ptr)) continue;
      ASSERT_TRUE(open_for_good(number(ptr)));
      ASSERT_TRUE(can_read(ptr));
      *ptr = 1;
      ASSERT_EQ(find(number(ptr)).found, Answer::Found::dead);
      ASSERT_EQ(bury(ptr).found, Death::Found::freed);
    }
  });
}

TEST(Remap, ThreadsMayOpenTheSamePagesForGood) {
  in_child({}, [] {
    std::vector<void*> blocks(4000);
    for (void*& block : blocks) block = place(100);
    for (size_t i = 0; i < blocks.size(); i += 2) ASSERT_TRUE(bury(blocks[i], 2, {.now = true}).closed);
    ASSERT_EQ(open_dead_bytes(), 0u);
    std::atomic<size_t> steps{0};
    const auto open_all = [&] {
      for (size_t i = 0; i < blocks.size(); i += 2) {
        for (++steps; steps < i + 2;) {
        }
        EXPECT_TRUE(open_for_good(number(blocks[i])));
      }
    };
    std::thread other(open_all);
    open_all();
    other.join();
    EXPECT_EQ(standing().closed_dead, 0u);
    for (size_t i = 0; i < blocks.size(); i += 2) EXPECT_TRUE(can_read(blocks[i]));
    for (size_t i = 1; i < blocks.size(); i += 2) EXPECT_EQ(bury(blocks[i]).found, Death::Found::done);
    EXPECT_GE(open_dead_bytes(), blocks.size() / 2 * 80) << "or no sweep would be due";
  });
}

TEST(Remap, ALiveBlockChangesItsSizeWhereItIsIfThatIsNoWaste) {
  in_child({}, [] {
    char* const ptr = static_cast<char*>(place(1000, 1));
    EXPECT_TRUE(resize(ptr, 1023, 4));
    EXPECT_EQ(room_of(ptr), 1023u);
    EXPECT_EQ(find(number(ptr)).block.born, 4u);
    EXPECT_FALSE(resize(ptr, 1024, 5));
    EXPECT_FALSE(resize(ptr, 400, 5));
    EXPECT_TRUE(resize(ptr, 600, 6));
    EXPECT_EQ(inspect(number(ptr)).first, 0u);
    ptr[600] ^= 4;
    EXPECT_EQ(inspect(number(ptr)).first, number(ptr) + 600);
    EXPECT_EQ(bury(ptr).damage.bytes, 1u);
    EXPECT_FALSE(resize(ptr, 600, 6));
    EXPECT_EQ(room_of(ptr), 0u);
  });
}

TEST(Remap, OfThreadsThatFreeTheSameBlockOneDoes) {
  in_child({}, [] {
    constexpr int kRounds = 2000, kBlocks = 16;
    std::vector<std::atomic<void*>> blocks(kBlocks);
    std::atomic<int> done{0}, arrived{0}, round{0};
    const auto work = [&] {
      for (int i = 1; i <= kRounds; ++i) {
        while (round.load() < i) std::this_thread::yield();
        for (auto& block : blocks) done += bury(block.load()).found == Death::Found::done;
        ++arrived;
      }
    };
    std::thread one(work), other(work);
    for (int i = 1; i <= kRounds; ++i) {
      for (auto& block : blocks) block = place(48, 1, 16, false, static_cast<unsigned>(i));
      round = i;
      while (arrived.load() < 2 * i) std::this_thread::yield();
    }
    one.join();
    other.join();
    EXPECT_EQ(done.load(), kRounds * kBlocks);
    EXPECT_EQ(standing().live, 0u);
  });
}

TEST(Remap, ThreadsAllocateAndFreeEachOthersBlocks) {
  in_child({}, [] {
    constexpr int kSlots = 4096;
    std::vector<std::atomic<char*>> shared(kSlots);
    std::atomic<long> damaged{0};
    const auto work = [&](unsigned self) {
      std::mt19937 random{self};
      for (int i = 0; i < 60'000; ++i) {
        const size_t size = 16 + random() % 200;
        char* fresh = static_cast<char*>(place(size, self, 16, false, self));
        ASSERT_NE(fresh, nullptr);
        std::memcpy(fresh, &size, sizeof size);
        std::memset(fresh + 8, static_cast<int>(size), size - 8);
        char* const old = shared[random() % kSlots].exchange(fresh);
        if (old == nullptr) continue;
        size_t its;
        std::memcpy(&its, old, sizeof its);
        for (size_t at = 8; at < its; ++at) damaged += old[at] != static_cast<char>(its);
        const Death death = bury(old, self, {.now = random() % 64 == 0});
        ASSERT_EQ(death.found, Death::Found::done);
        ASSERT_EQ(death.damage.first, 0u);
      }
    };
    std::thread one(work, 1), other(work, 2), third(work, 3);
    one.join();
    other.join();
    third.join();
    EXPECT_EQ(damaged.load(), 0);
    size_t live = 0;
    for (auto& block : shared) live += block.load() != nullptr;
    EXPECT_EQ(standing().live, live);
  });
}

void mark_all(const std::vector<void*>& roots) {
  ASSERT_TRUE(marks::begin());
  marks::see_all(std::as_bytes(std::span(roots)));
  static_cast<void>(marks::see_live_blocks());
}

TEST(Marks, ADeadBlockIsUsedAgainWhenNothingPointsAtItAndNotBefore) {
  in_child({}, [] {
    std::vector<void*> blocks, pointed_at;
    for (int i = 0; i < 10'000; ++i) blocks.push_back(place(100, 7));
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (i % 3 != 0) {
        ASSERT_EQ(bury(blocks[i], 8).found, Death::Found::done);
        if (i % 3 == 1) pointed_at.push_back(static_cast<char*>(blocks[i]) + 99);
      }
    }
    mark_all(pointed_at);
    for (void* ptr : pointed_at) ASSERT_TRUE(marks::marked(number(ptr), 1));
    const marks::Outcome outcome = marks::end({});
    EXPECT_EQ(outcome.kept, pointed_at.size());
    EXPECT_EQ(outcome.freed, 10'000 - 3334 - pointed_at.size());
    std::vector<Block> kept(pointed_at.size());
    EXPECT_EQ(marks::kept(kept), std::min<size_t>(pointed_at.size(), 4096));
    std::vector<uintptr_t> again;
    for (size_t i = 0; i < outcome.freed; ++i) again.push_back(number(place(100, 9)));
    size_t same = 0;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const bool used = std::find(again.begin(), again.end(), number(blocks[i])) != again.end();
      if (i % 3 == 2) same += used;
      ASSERT_TRUE(!used || i % 3 == 2);
      ASSERT_TRUE(i % 3 != 1 || can_read(blocks[i]) == (engine() == Engine::none));
    }
    EXPECT_GT(same, outcome.freed * 9 / 10);
    EXPECT_EQ(standing().recycled, outcome.freed);
  });
}

TEST(Marks, LiveBlocksKeepOthersAndDeadOnesDoNot) {
  in_child({}, [] {
    // Chains of three: the first of each is live or dead, and points at the second, which points at the third.
    std::vector<void**> firsts, seconds, thirds;
    for (int i = 0; i < 3000; ++i) {
      for (auto* list : {&firsts, &seconds, &thirds}) list->push_back(static_cast<void**>(place(200 + (i % 5) * 2000)));
      *firsts.back() = seconds.back();
      *seconds.back() = thirds.back();
    }
    for (size_t i = 0; i < firsts.size(); ++i) {
      ASSERT_EQ(bury(thirds[i]).found, Death::Found::done);
      ASSERT_TRUE(i % 2 != 0 || bury(seconds[i]).found == Death::Found::done);
    }
    size_t kept = 0, freed = 0;
    for (size_t i = 0; i < firsts.size(); ++i) {
      // Of even ones the second is dead, and kept by the first; what it points at is not.
      if (i % 2 == 0) kept += find(number(seconds[i])).block.open;
      (i % 2 == 0 ? freed : kept) += find(number(thirds[i])).block.open;
    }
    ASSERT_TRUE(marks::begin());
    ASSERT_FALSE(marks::begin());
    EXPECT_GT(marks::see_live_blocks(), 1'000'000u);
    const marks::Outcome outcome = marks::end({.close = false});
    EXPECT_EQ(outcome.kept, kept);
    EXPECT_EQ(outcome.freed, freed);
    EXPECT_GT(freed, firsts.size() / 4);
  });
}

TEST(Marks, ABoundedSweepRecyclesNoMore) {
  in_child({}, [] {
    std::vector<void*> blocks;
    for (int i = 0; i < 5000; ++i) blocks.push_back(place(100));
    for (size_t i = 0; i < blocks.size(); i += 2) ASSERT_EQ(bury(blocks[i]).found, Death::Found::done);
    mark_all({});
    EXPECT_LE(marks::end({.bytes = 50'000}).freed_bytes, 50'000u + 200);
    mark_all({});
    marks::abandon();
    mark_all({});
    EXPECT_GT(marks::end({}).freed, 1000u);
  });
}

TEST(Marks, AddressesAreUsedAgainWhenThereAreNoOthers) {
  in_child({.addresses = 64 << 20}, [] {
    void* const kept = place(64);
    std::vector<void*> roots{kept};
    std::vector<void*> pointed_at;
    int refused = 0, sweeps = 0;
    for (int i = 0; i < 400'000; ++i) {
      void* const ptr = place(64);
      if (ptr == nullptr) {
        ++refused;
        mark_all(pointed_at);
        marks::end({});
        ASSERT_LT(++sweeps, 1000);
        continue;
      }
      ASSERT_EQ(std::find(pointed_at.begin(), pointed_at.end(), ptr), pointed_at.end());
      ASSERT_EQ(bury(ptr).found, Death::Found::done);
      if (i % 40'000 == 17) pointed_at.push_back(ptr);
    }
    EXPECT_GT(refused, 0);
    EXPECT_EQ(static_cast<uint64_t>(refused), standing().refused[static_cast<size_t>(Refusal::addresses)]);
    for (void* ptr : pointed_at) EXPECT_EQ(find(number(ptr)).found, Answer::Found::dead);
    EXPECT_LE(standing().addresses, 64u << 20);
  });
}

/// Of the process's own, in KiB: not of files, and not what is shared.
long private_memory() {
  long kib = 0;
  FILE* const file = fopen("/proc/self/status", "r");
  for (char line[200]; file != nullptr && fgets(line, sizeof line, file) != nullptr;)
    sscanf(line, "RssAnon: %ld", &kib);
  if (file != nullptr) fclose(file);
  return kib;
}

TEST(Remap, TheLongerAProgramRunsTheLessIsKnownOfItsFirstBlocks) {
  in_child({}, [] {
    constexpr int kRounds = 400'000;
    std::vector<void*> blocks(2000);
    std::minstd_rand random(7);
    const auto work = [&] {
      for (int i = 0; i < kRounds; ++i) {
        void*& block = blocks[random() % blocks.size()];
        if (block != nullptr) {
          ASSERT_EQ(bury(block).found, Death::Found::done);
        }
        block = place(random() % 400);
        ASSERT_NE(block, nullptr);
      }
    };
    work();
    work();
    const long before = private_memory();
    for (int i = 0; i < 4; ++i) work();
    EXPECT_LT(private_memory() - before, 1500) << "KiB for " << 4 * kRounds << " blocks";
    EXPECT_LT(standing().table_bytes, 16u << 20);
    for (void* block : blocks) {
      const Answer answer = find(number(block));
      EXPECT_TRUE(answer.found == Answer::Found::live && answer.offset == 0);
      EXPECT_EQ(bury(block).found, Death::Found::done);
      EXPECT_EQ(find(number(block)).found, Answer::Found::dead);
    }
  });
}

TEST(Marks, AddressesWhoseBlocksAreForgottenAreUsedAgainToo) {
  in_child({.addresses = 512 << 20}, [] {
    std::vector<std::pair<unsigned char*, size_t>> blocks(500);
    std::minstd_rand random(3);
    int sweeps = 0;
    for (int i = 0; i < 1'500'000; ++i) {
      auto& [block, size] = blocks[random() % blocks.size()];
      if (block != nullptr) {
        ASSERT_TRUE(is_painted(block, size)) << i;
        ASSERT_EQ(bury(block).found, Death::Found::done) << i;
      }
      block = static_cast<unsigned char*>(place(size = random() % 300));
      if (block != nullptr) {
        paint(block, size);
        continue;
      }
      std::vector<void*> roots;
      for (const auto& each : blocks) roots.push_back(each.first);
      mark_all(roots);
      marks::end({});
      ASSERT_LT(++sweeps, 10'000);
    }
    EXPECT_GT(sweeps, 0);
  });
}

TEST(Remap, AFullArenaRefusesAndGoesOnWhenBlocksAreFreed) {
  static int told = 0;
  in_child({.arena = 8 << 20, .refused = [](Refusal) noexcept { ++told; }}, [] {
    std::vector<void*> blocks;
    for (;;) {
      void* const ptr = place(1000);
      if (ptr == nullptr) break;
      std::memset(ptr, 1, 1000);
      blocks.push_back(ptr);
    }
    EXPECT_GT(blocks.size(), 4000u);
    EXPECT_LT(blocks.size(), 9000u);
    EXPECT_EQ(told, 1);
    EXPECT_EQ(place(1000), nullptr);
    EXPECT_EQ(told, 1);
    for (void* ptr : blocks) ASSERT_EQ(bury(ptr).found, Death::Found::done);
    for (int i = 0; i < 3000; ++i) ASSERT_NE(place(1000), nullptr);
  });
}

TEST(Remap, MemoryOfDeadBlocksIsGivenBackAndNotThatOfLiveOnes) {
  in_child({}, [] {
    std::vector<void*> blocks;
    for (int i = 0; i < 300'000; ++i) {
      void* const ptr = place(100);
      std::memset(ptr, 5, 100);
      blocks.push_back(ptr);
    }
    const uint64_t full = standing().arena_bytes;
    EXPECT_LT(full, 300'000 * 112 * 16 / 10);
    std::vector<char*> live;
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (i % 100'000 == 7)
        live.push_back(static_cast<char*>(blocks[i]));
      else
        ASSERT_EQ(bury(blocks[i]).found, Death::Found::done);
    }
    trim();
    EXPECT_LT(standing().arena_bytes, full / 2);
    for (const char* ptr : live) ASSERT_EQ(ptr[99], 5);
    for (int i = 0; i < 100'000; ++i) std::memset(place(100), 6, 100);
    for (const char* ptr : live) ASSERT_EQ(ptr[99], 5);
  });
}

TEST(Remap, AYoungHeapIsSmall) {
  in_child({}, [] {
    for (int i = 0; i < 200; ++i) std::memset(place(static_cast<size_t>(i % 20) * 16), 1, 1);
    const Standing now = standing();
    EXPECT_LT(now.arena_bytes, 1u << 20);
    EXPECT_LT(now.mappings, 200u);
  });
}

TEST(Remap, SealedItUsesWhatIsThereAndAsksForNothing) {
  in_child({}, [] {
    std::vector<void*> blocks;
    for (int i = 0; i < 1000; ++i) blocks.push_back(place(64));
    seal(true);
    fault::countdown = 0;  // any call would fail
    for (void* ptr : blocks) ASSERT_EQ(bury(ptr, 2, {.now = true}).found, Death::Found::done);
    for (int i = 0; i < 100'000 && place(64) != nullptr; ++i) {
    }
    EXPECT_EQ(fault::countdown, 0);
    fault::countdown = -1;
    EXPECT_EQ(standing().refused[static_cast<size_t>(Refusal::sealed)], 1u);
    for (void* ptr : blocks) ASSERT_NE(find(number(ptr)).found, Answer::Found::live);
    seal(false);
    EXPECT_NE(place(64), nullptr);
    EXPECT_GT(standing().moved, 0u);
  });
}

TEST(Remap, EverySystemCallMayFail) {
  for (int nth = 0;; ++nth) {
    bool injected = true;
    const int status = status_of([&] {
      noise::begin(1);
      fault::countdown = nth;
      bool begins = begin({});
      const auto work = [] {
        std::vector<std::pair<char*, size_t>> live;
        for (int i = 0; i < 3000; ++i) {
          const size_t size = static_cast<size_t>(i % 7) * 300;
          if (char* const ptr = static_cast<char*>(place(size)); ptr != nullptr) {
            std::memset(ptr, i, size);
            live.emplace_back(ptr, size);
          }
          if (i % 3 == 0 || live.empty()) continue;
          const Death death = bury(live.front().first, 2, {.now = i % 2 == 0});
          ASSERT_EQ(death.found, Death::Found::done);
          ASSERT_EQ(death.damage.first, 0u);
          live.erase(live.begin());
        }
        if (marks::begin()) {
          static_cast<void>(marks::see_live_blocks());
          marks::end({});
        }
        trim();
        for (const auto& [ptr, size] : live) ASSERT_EQ(bury(ptr).found, Death::Found::done);
      };
      if (begins) work();
      injected = fault::countdown < 0;
      fault::countdown = -1;
      ASSERT_TRUE(begins || injected);
      if (begins) work();
      _exit(::testing::Test::HasFailure() ? 1 : injected ? 0 : 42);
    });
    ASSERT_TRUE(status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 42)) << "call " << nth << ": " << status;
    if (status != 0) {
      EXPECT_GT(nth, 100);
      return;
    }
    if (nth > 60) nth += nth / 6;
  }
}

TEST(Remap, AForkChildHasACopyOfItsOwn) {
  for (const Engine wanted : {Engine::userfaultfd, Engine::markers}) {
    in_child({.engine = wanted}, [] {
      std::mt19937 random{5};
      std::vector<std::pair<char*, size_t>> live;
      std::vector<char*> closed;
      for (int i = 0; i < 8'000; ++i) {
        const size_t size = random() % 32 != 0 ? random() % 400 : random() % 30'000;
        live.emplace_back(static_cast<char*>(place(size)), size);
        paint(live.back().first, size);
        if (i % 2 == 0) continue;
        std::swap(live[random() % live.size()], live.back());
        const bool now = i % 3 == 0;
        if (bury(live.back().first, 2, {.now = now}).closed) closed.push_back(live.back().first);
        live.pop_back();
      }
      ASSERT_TRUE(before_fork());
      static int apart;
      int pipe_ends[2];
      ASSERT_EQ(pipe(pipe_ends), 0);
      apart = pipe_ends[1];
      const pid_t child = fork();
      if (child == 0) {
        alarm(60);
        live.front().first[0] ^= 1;  // as libc does before anybody can be asked
        if (!after_fork_in_child(true, []() noexcept { static_cast<void>(!write(apart, "x", 1)); })) _exit(1);
        live.front().first[0] ^= 1;
        for (const auto& [ptr, size] : live) {
          if (!is_painted(ptr, size)) _exit(2);
          std::memset(ptr, 0, size);
        }
        for (const char* ptr : closed)
          if (can_read(ptr)) _exit(3);
        for (const auto& [ptr, size] : live) {
          const Death death = bury(ptr, 2, {.now = size % 2 == 0});
          if (death.found != Death::Found::done || death.damage.first != 0) _exit(4);
        }
        if (standing().live != 0) _exit(5);
        for (int i = 0; i < 20'000; ++i) {
          void* const ptr = place(200);
          if (ptr == nullptr) _exit(6);
          std::memset(ptr, 1, 200);
        }
        _exit(0);
      }
      char byte;
      ASSERT_EQ(read(pipe_ends[0], &byte, 1), 1);
      after_fork_in_parent();
      int status = 0;
      waitpid(child, &status, 0);
      EXPECT_EQ(status, 0);
      for (const auto& [ptr, size] : live) ASSERT_TRUE(is_painted(ptr, size));
      for (const char* ptr : closed) ASSERT_FALSE(can_read(ptr));
      for (int i = 0; i < 1000; ++i) ASSERT_NE(place(300), nullptr);
    });
  }
}

/// Forks, as the library does it; returns the child's status.
int in_fork(const std::function<void()>& body) {
  EXPECT_TRUE(before_fork());
  const int status = status_of([&] {
    ASSERT_TRUE(after_fork_in_child(true, []() noexcept {}));
    body();
  });
  after_fork_in_parent();
  return status;
}

TEST(Remap, WhatTheParentWroteMeanwhileIsNoErrorInACopyThatIsMadeLate) {
  in_child({}, [] {
    char* const ptr = static_cast<char*>(place(100));
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
      char byte;
      ASSERT_EQ(read(ends[0], &byte, 1), 1);
      const bool copied = after_fork_in_child(false, []() noexcept {});
      _exit(!copied || inspect(number(ptr)).first != 0 || bury(ptr).damage.first != 0);
    }
    ASSERT_TRUE(resize(ptr, 106, 2));
    std::memset(ptr, 1, 106);
    ASSERT_EQ(write(ends[1], "", 1), 1);
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  });
}

/// A thread that gives runs back, or moves them, is no more in a fork child, wherever it was.
TEST(Remap, WhatAThreadHadInItsHandsIsCountedInAForkChild) {
  in_child({}, [] {
    std::atomic<bool> ended{false};
    std::thread other([&] {
      std::vector<void*> blocks(3000);
      while (!ended) {
        for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = place(i % 2 == 0 ? 40 : 700, 1, 16, false, 5);
        for (void* ptr : blocks) EXPECT_EQ(bury(ptr).found, Death::Found::done);
        trim();
      }
    });
    for (int i = 0; i < 300; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        if (!after_fork_in_child(false, []() noexcept {})) _exit(1);
        for_each_live([](const Block& block) { static_cast<void>(bury(reinterpret_cast<void*>(block.address))); });
        trim();
        constexpr uint64_t kRest = 4 << 20;  // in runs of which not all is dead, or whose blocks are lost
        _exit(open_dead_bytes() > kRest ? 2 : live_bytes() > kRest ? 3 : 0);
      }
      int status = -1;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_EQ(status, 0);
    }
    ended = true;
    other.join();
  });
}

TEST(Remap, AChildWithoutACopyLeavesTheParentsMemoryAlone) {
  in_child({}, [] {
    std::vector<char*> blocks;
    for (int i = 0; i < 3000; ++i) paint(blocks.emplace_back(static_cast<char*>(place(100))), 100);
    EXPECT_EQ(status_of([&] {
                const rlimit none{0, 0};  // for the copy
                ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
                signal(SIGXFSZ, SIG_IGN);
                ASSERT_FALSE(after_fork_in_child(false, []() noexcept {}));
                for (void* ptr : blocks) ASSERT_EQ(bury(ptr).found, Death::Found::done);
                trim();
              }),
              0);
    for (char* ptr : blocks) ASSERT_TRUE(is_painted(ptr, 100));
  });
}

TEST(Remap, AProgramThatWasShortOfMemoryHasRemappedBlocksAgainLater) {
  in_child({}, [] {
    constexpr uint64_t kFrames = 64;  // whose records share a step of their table
    size_t size = 1000;
    for (; standing().frames < kFrames; size = size < 30'000 ? size + 16 : 1000) ASSERT_NE(place(size), nullptr);
    rlimit before;
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    const rlimit nothing{1, before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_AS, &nothing), 0);
    for (int i = 0; i < 600'000; ++i) static_cast<void>(place(60'000));
    EXPECT_EQ(place(60'000), nullptr);
    ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
    EXPECT_NE(place(60'000), nullptr);
    EXPECT_LT(standing().table_bytes, 64u << 20);
  });
}

TEST(Remap, AGrandchildHasWhatTheChildAllocated) {
  in_child({}, [] {
    ASSERT_EQ(bury(place(100)).found, Death::Found::done);  // others of its run are there to be given out
    EXPECT_EQ(in_fork([] {
                char* const ptr = static_cast<char*>(place(100));
                paint(ptr, 100);
                EXPECT_EQ(in_fork([ptr] {
                            EXPECT_TRUE(is_painted(ptr, 100));
                            EXPECT_EQ(bury(ptr).damage.first, 0u);
                          }),
                          0);
                EXPECT_TRUE(is_painted(ptr, 100));
              }),
              0);
  });
}

}  // namespace
}  // namespace poireau::tracked_alloc::remap
