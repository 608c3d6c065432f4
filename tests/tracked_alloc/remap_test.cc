#include "tracked_alloc/remap.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <random>
#include <thread>
#include <vector>

#include "preload/base/sys.h"
#include "tracked_alloc/noise.h"

namespace poireau::tracked_alloc::remap {
namespace {

constexpr size_t kPage = 4096;

/// Each begins anew, in a process of its own: what `begin` was told holds for its life.
int status_of(const std::function<void()>& body) {
  fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
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
void paint(void* ptr, size_t size) {
  std::mt19937 random{static_cast<uint32_t>(number(ptr) >> 4)};
  for (size_t i = 0; i < size; ++i) static_cast<unsigned char*>(ptr)[i] = static_cast<unsigned char>(random());
}
bool is_painted(const void* ptr, size_t size) {
  std::mt19937 random{static_cast<uint32_t>(number(ptr) >> 4)};
  for (size_t i = 0; i < size; ++i)
    if (static_cast<const unsigned char*>(ptr)[i] != static_cast<unsigned char>(random())) return false;
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
          static_cast<unsigned char*>(ptr)[size] ^= 1;
          ASSERT_EQ(inspect(number(ptr)).first, number(ptr) + size);
          const Death death = bury(ptr);
          ASSERT_EQ(death.found, Death::Found::done);
          ASSERT_EQ(death.damage.first, number(ptr) + size);
          ASSERT_EQ(death.damage.bytes, 1u);
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
    for (int i = 0; i < 60'000; ++i) {
      if (live.size() > 3000 || (!live.empty() && random() % 3 == 0)) {
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

}  // namespace
}  // namespace poireau::tracked_alloc::remap
