#include "preload/depot.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <map>
#include <random>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "tracked_alloc/headroom.h"

namespace poireau {
namespace {

using Stack = std::vector<uintptr_t>;

Stack stack_of(uint32_t number) {
  const auto frames = depot::frames_of(number);
  return {frames.begin(), frames.end()};
}

/// Of its own for each `id`; many have frames in common.
Stack some_stack(uint32_t id) {
  std::mt19937 random(id / 16);
  Stack frames(1 + random() % 60);
  for (auto& frame : frames) frame = 0x7f0000000000 + random();
  frames[random() % frames.size()] = id;
  return frames;
}

/// The tests of a depot that is new, or full, have one to themselves.
template <typename Body>
void in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) {
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

/// How many stacks of 30 frames it holds. Nothing that was there is lost, and it says what it refused.
size_t fill() {
  std::vector<uint32_t> numbers;
  const auto nth = [](size_t n) {
    Stack frames(30, 0x400000);
    frames[n % 30] = n;
    return frames;
  };
  const uint64_t refused = depot::refused();
  while (const uint32_t number = depot::intern(nth(numbers.size() + 1))) numbers.push_back(number);
  EXPECT_EQ(depot::refused(), refused + 1);
  for (size_t n = 0; n < numbers.size(); ++n) {
    EXPECT_EQ(depot::intern(nth(n + 1)), numbers[n]);
    EXPECT_EQ(stack_of(numbers[n]), nth(n + 1));
    if (testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(depot::intern(nth(numbers.size() + 1)), 0u);
  return numbers.size();
}

// First, while there is none.
TEST(Depot, EverySystemCallMayFail) {
  in_child([] {
    const int calls = fault::for_each_fault([] {
      if (const uint32_t number = depot::intern(some_stack(1))) {
        EXPECT_EQ(stack_of(number), some_stack(1));
      }
    });
    EXPECT_GE(calls, 1);
    EXPECT_NE(depot::intern(some_stack(1)), 0u);
    EXPECT_EQ(fault::for_each_fault([] { EXPECT_NE(depot::intern(some_stack(2)), 0u); }), 0) << "mapped once";
  });
}

TEST(Depot, IsNoneWhereTheProgramHasShutItselfIn) {
  in_child([] {
    sandbox::enter(sandbox::State::filtered);
    EXPECT_EQ(fault::for_each_fault([] { EXPECT_EQ(depot::intern(some_stack(1)), 0u); }), 0);
    EXPECT_EQ(depot::refused(), 1u);
    sandbox::leave(sandbox::State::inherited);
    EXPECT_NE(depot::intern(some_stack(1)), 0u);
    sandbox::enter(sandbox::State::filtered);
    EXPECT_NE(depot::intern(some_stack(2)), 0u) << "it needs no more of the kernel";
  });
}

TEST(Depot, HoldsThirtyThousandStacks) {
  in_child([] { EXPECT_GT(fill(), 30'000u); });
}

TEST(Depot, IsSmallWhereThereIsLittleToTake) {
  in_child([] {
    ASSERT_TRUE(tracked_alloc::headroom::take(SIZE_MAX - tracked_alloc::headroom::taken() - (1 << 20)));
    const size_t held = fill();
    EXPECT_GT(held, 900u);
    EXPECT_LT(held, 1100u);
  });
}

TEST(Depot, IsNoneWhereThereIsNothingToTake) {
  in_child([] {
    ASSERT_TRUE(tracked_alloc::headroom::take(SIZE_MAX - tracked_alloc::headroom::taken() - (64 << 10)));
    EXPECT_EQ(fault::for_each_fault([] { EXPECT_EQ(depot::intern(some_stack(1)), 0u); }), 0);
    EXPECT_EQ(depot::refused(), 1u);
  });
}

TEST(Depot, GivesBackEachStackByItsNumber) {
  std::map<uint32_t, Stack> all;
  for (uint32_t id = 1; id < 1000; ++id) {
    const uint32_t number = depot::intern(some_stack(id));
    ASSERT_NE(number, 0u);
    EXPECT_TRUE(all.emplace(number, some_stack(id)).second) << "two stacks, two numbers";
    EXPECT_EQ(depot::intern(some_stack(id)), number) << "one stack, one number";
  }
  for (const auto& [number, frames] : all) EXPECT_EQ(stack_of(number), frames);
}

TEST(Depot, NoStackIsNumberZero) {
  EXPECT_EQ(depot::intern({}), 0u);
  EXPECT_TRUE(depot::frames_of(0).empty());
  EXPECT_EQ(depot::refused(), 0u);
}

TEST(Depot, TellsStacksApartThatBeginAlike) {
  const Stack one{1}, two{1, 2}, other{2, 1}, zeros(7), more(8);
  std::map<uint32_t, int> numbers;
  for (const Stack& frames : {one, two, other, zeros, more}) ++numbers[depot::intern(frames)];
  EXPECT_EQ(numbers.size(), 5u);
}

TEST(Depot, CutsWhatIsTooLong) {
  const Stack frames(1000, 7);
  const uint32_t number = depot::intern(frames);
  EXPECT_EQ(depot::frames_of(number).size(), stack::kMostFrames);
  EXPECT_TRUE(depot::truncated(number));
}

TEST(Depot, TellsAStackFromTheSameThatGoesOn) {
  const uint32_t whole = depot::intern(some_stack(6000)), cut = depot::intern(some_stack(6000), true);
  EXPECT_NE(whole, cut);
  EXPECT_EQ(depot::intern(some_stack(6000), true), cut);
  EXPECT_FALSE(depot::truncated(whole));
  EXPECT_TRUE(depot::truncated(cut));
  EXPECT_EQ(stack_of(whole), some_stack(6000));
  EXPECT_EQ(stack_of(cut), some_stack(6000));
  EXPECT_FALSE(depot::truncated(0));
}

TEST(Depot, SurvivesANumberThatItNeverGave) {
  ASSERT_NE(depot::intern(some_stack(1)), 0u);
  for (const uint32_t number : {0x1000u, 0x0fff'ffffu, 0x7fff'ffffu, UINT32_MAX})
    EXPECT_LE(depot::frames_of(number).size(), 2u << 20);
}

TEST(Depot, AChildKeepsItsParentsStacksAndItsOwnToItself) {
  const uint32_t before = depot::intern(some_stack(5000));
  in_child([&] {
    EXPECT_EQ(depot::intern(some_stack(5000)), before);
    EXPECT_NE(depot::intern(some_stack(5001)), 0u);
  });
  const uint32_t after = depot::intern(some_stack(5002));
  EXPECT_EQ(stack_of(after), some_stack(5002));
}

TEST(Depot, ThreadsThatMeetAgreeOnTheNumbers) {
  constexpr uint32_t kFirst = 10'000, kStacks = 4000;
  constexpr int kThreads = 4, kRounds = 3;
  in_child([] {
    std::vector<std::vector<uint32_t>> found(kThreads);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&found, t] {
        found[t].resize(kStacks);
        for (int round = 0; round < kRounds; ++round)
          for (uint32_t i = 0; i < kStacks; ++i) {
            // Two go one way and two the other: they race for each stack with one, and meet the rest half-way.
            const uint32_t which = t % 2 == 0 ? i : kStacks - 1 - i;
            const uint32_t number = depot::intern(some_stack(kFirst + which));
            if (round == 0) found[t][which] = number;
            if (number == 0 || number != found[t][which] || stack_of(number) != some_stack(kFirst + which)) {
              ADD_FAILURE() << "stack " << which << " is number " << number << ", was " << found[t][which];
              return;
            }
          }
      });
    for (auto& thread : threads) thread.join();
    for (int t = 1; t < kThreads; ++t) EXPECT_EQ(found[t], found[0]);
  });
}

}  // namespace
}  // namespace poireau
