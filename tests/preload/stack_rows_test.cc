#include "preload/stack_rows.h"

#include <alloca.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <printf.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csetjmp>
#include <cstdlib>
#include <functional>
#include <random>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/sandbox.h"
#include "preload/stack_row.h"
#include "preload/thread.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

namespace poireau {
namespace {

using Body = std::function<void()>;
using Frames = std::array<uintptr_t, stack::kMostFrames>;

/// What came of walking the same stacks by rows and by libgcc.
struct Tally {
  std::atomic<size_t> walks{0}, by_rows{0}, different{0};
  bool all_by_rows() const { return by_rows == walks && different == 0 && walks != 0; }
};
std::ostream& operator<<(std::ostream& out, const Tally& tally) {
  return out << tally.walks << " walks, " << tally.by_rows << " by rows, " << tally.different << " of them wrong";
}

[[gnu::noinline]] void walk_both(Tally& tally, size_t room = stack::kMostFrames) {
  Frames rows, known;
  const void* const caller = __builtin_return_address(0);
  const size_t count = stack::kRows.walk({rows.data(), room}, caller),
               wanted = stack::kLibgcc.walk({known.data(), room}, caller);
  ++tally.walks;
  if (count == 0) return;
  ++tally.by_rows;
  if (count == wanted && std::equal(rows.begin(), rows.begin() + std::min(count, room), known.begin())) return;
  ++tally.different;
  if (tally.different > 1) return;
  ADD_FAILURE() << "rows find " << count << " frames, libgcc " << wanted;
  for (size_t i = 0; i < std::max(count, wanted) && i < room; ++i)
    std::printf("  %lx %lx\n", i < count ? rows[i] : 0, i < wanted ? known[i] : 0);
}

class RowsTest : public testing::Test {
 protected:
  void SetUp() override { stack::begin(); }
  Tally tally;
  const Body look = [this] { walk_both(tally); };
};

#define CLOBBER asm volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory")

[[gnu::noinline]] int ordinary(int depth, const Body& body) {
  std::string local(static_cast<size_t>(depth) % 20, 'x');
  if (depth == 0)
    body();
  else
    ordinary(depth - 1, body);
  CLOBBER;
  return static_cast<int>(local.size());
}

[[gnu::noinline]] int by_rbp(int depth, const Body& body) {
  auto* const room = static_cast<volatile char*>(alloca(static_cast<size_t>(16 + depth % 30 * 8)));
  room[0] = 1;
  if (depth == 0)
    body();
  else
    by_rbp(depth - 1, body);
  CLOBBER;
  return room[0];
}

[[gnu::noinline]] int realigned(int depth, const Body& body) {
  alignas(64) volatile char line[64];
  auto* const room = static_cast<volatile char*>(alloca(static_cast<size_t>(8 + depth % 30 * 8)));
  line[0] = 1;
  room[0] = 1;
  asm volatile("" ::"r"(line) : "memory");
  if (depth == 0)
    body();
  else
    realigned(depth - 1, body);
  CLOBBER;
  return line[0] + room[0];
}

TEST_F(RowsTest, ReadOrdinaryFrames) {
  for (int depth = 0; depth < 60; ++depth) ordinary(depth, look);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, ReadFramesThatAreHeldByRbp) {
  for (int depth = 0; depth < 40; ++depth) by_rbp(depth, look);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, ReadFramesThatAreRealigned) {
  for (int depth = 0; depth < 30; ++depth) realigned(depth, look);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, ReadDeepRecursions) {
  ordinary(4000, look);
  by_rbp(4000, look);
  realigned(4000, look);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, AgreeOnWhetherThereIsMore) {
  Frames frames;
  const size_t whole = stack::kRows.walk(frames, __builtin_return_address(0));
  ASSERT_GT(whole, 3u);
  ASSERT_LT(whole, stack::kMostFrames);
  for (size_t room = 0; room < whole + 3; ++room) {
    EXPECT_EQ(stack::kRows.walk({frames.data(), room}, __builtin_return_address(0)), std::min(whole, room + 1));
    EXPECT_EQ(stack::kLibgcc.walk({frames.data(), room}, __builtin_return_address(0)), std::min(whole, room + 1));
  }
}

TEST_F(RowsTest, LeaveToLibgccWhatIsTooLarge) {
  const auto large = [](const Body& body) {
    volatile char room[200'000];
    room[0] = 1;
    body();
    asm volatile("" ::"r"(room) : "memory");
  };
  large(look);
  EXPECT_EQ(tally.by_rows, 0u) << tally;
  Frames frames;
  size_t depth = 0;
  large([&] { depth = stack::capture(frames); });
  EXPECT_GT(depth, 3u);
}

Tally* callbacks;
int compare_ints(const void* a, const void* b) {
  walk_both(*callbacks);
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}
int print_w(FILE* to, const printf_info*, const void* const*) {
  walk_both(*callbacks);
  return std::fprintf(to, "w");
}
int arguments_of_w(const printf_info*, size_t count, int* types, int* sizes) {
  if (count != 0) types[0] = PA_INT, sizes[0] = sizeof(int);
  return 1;
}

TEST_F(RowsTest, ReadWhoCallsBack) {
  callbacks = &tally;
  std::mt19937 random(1);
  std::vector<int> numbers(300);
  for (int& number : numbers) number = static_cast<int>(random() % 1000);
  std::qsort(numbers.data(), numbers.size(), sizeof(int), compare_ints);
  std::bsearch(numbers.data() + 7, numbers.data(), numbers.size(), sizeof(int), compare_ints);
  std::sort(numbers.begin(), numbers.end(), [&](int a, int b) {
    look();
    return a < b;
  });
  register_printf_specifier('W', print_w, arguments_of_w);
  char text[16];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
  std::snprintf(text, sizeof text, "%W", 3);
#pragma GCC diagnostic pop
  EXPECT_TRUE(tally.all_by_rows()) << tally;
  EXPECT_GT(tally.walks, 3000u);
}

struct Leaving {
  const Body& body;
  ~Leaving() { body(); }
};

TEST_F(RowsTest, ReadStacksWhileExceptionsPass) {
  for (int depth = 0; depth < 30; ++depth) try {
      const Leaving leaving{look};
      ordinary(depth, [&] {
        const Leaving more{look};
        look();
        throw depth;
      });
    } catch (int) {
      look();
    }
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

Tally* in_handler;
void look_in_handler(int) { walk_both(*in_handler); }

TEST_F(RowsTest, ReadWhatASignalInterrupted) {
  in_handler = &tally;
  struct sigaction mine {
  }, before;
  mine.sa_handler = look_in_handler;
  sigaction(SIGUSR1, &mine, &before);
  for (int depth = 0; depth < 30; ++depth) {
    ordinary(depth, [] { raise(SIGUSR1); });
    realigned(depth, [] { raise(SIGUSR1); });
  }
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, ReadWhatASignalInterruptedOnAnotherStack) {
  in_handler = &tally;
  std::vector<char> room(64 << 10);
  stack_t other{}, none{};
  other.ss_sp = room.data();
  other.ss_size = room.size();
  sigaltstack(&other, &none);
  struct sigaction mine {
  }, before;
  mine.sa_handler = look_in_handler;
  mine.sa_flags = SA_ONSTACK;
  sigaction(SIGUSR1, &mine, &before);
  for (int depth = 0; depth < 30; ++depth) ordinary(depth, [] { raise(SIGUSR1); });
  sigaction(SIGUSR1, &before, nullptr);
  none.ss_flags = SS_DISABLE;
  sigaltstack(&none, nullptr);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

const Body* on_fiber;

TEST_F(RowsTest, ReadTheStacksOfFibers) {
  ucontext_t back, there;
  constexpr size_t kSize = 256 << 10;
  void* const room = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(room, MAP_FAILED);
  getcontext(&there);
  there.uc_stack.ss_sp = room;
  there.uc_stack.ss_size = kSize;
  there.uc_link = &back;
  on_fiber = &look;
  makecontext(
      &there,
      [] {
        for (int depth = 0; depth < 30; ++depth) ordinary(depth, *on_fiber);
      },
      0);
  swapcontext(&back, &there);
  look();
  munmap(room, kSize);
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

// Every instruction.

struct Stepping {
  size_t steps, by_rows, different, libgcc_crashed;
};
Stepping stepping;
sigjmp_buf out_of_libgcc;

[[gnu::noinline]] void compare_at(const void* context) {
  static Frames rows, known;
  ++stepping.steps;
  const size_t count = stack::kRows.walk_from(rows, context);
  if (count == 0) return;
  ++stepping.by_rows;
  if (sigsetjmp(out_of_libgcc, 1) != 0) {
    ++stepping.libgcc_crashed;
    return;
  }
  const size_t wanted = stack::kLibgcc.walk_from(known, context);
  if (wanted == 0 ||
      (count == wanted && std::equal(rows.begin(), rows.begin() + std::min(count, stack::kMostFrames), known.begin())))
    return;
  if (++stepping.different > 3) return;
  std::printf("at %lx rows find %zu frames, libgcc %zu\n", rows[0], count, wanted);
  for (size_t i = 0; i < std::max(count, wanted); ++i)
    std::printf("  %lx %lx\n", i < count ? rows[i] : 0, i < wanted ? known[i] : 0);
}

constexpr uint64_t kTrap = 0x100;
void step_by_step() { asm volatile("pushfq; orq %0, (%%rsp); popfq" ::"i"(kTrap) : "memory", "cc"); }
void go_on() { asm volatile("pushfq; andq %0, (%%rsp); popfq" ::"i"(~kTrap) : "memory", "cc"); }

TEST_F(RowsTest, AgreeWithLibgccAtEveryInstruction) {
  if (kSanitized) GTEST_SKIP();  // its own instructions would be looked at too
  struct sigaction trap {
  }, fault{}, before_trap, before_fault;
  trap.sa_sigaction = [](int, siginfo_t*, void* context) { compare_at(context); };
  trap.sa_flags = SA_SIGINFO;
  fault.sa_handler = [](int) { siglongjmp(out_of_libgcc, 1); };
  sigaction(SIGTRAP, &trap, &before_trap);
  sigaction(SIGSEGV, &fault, &before_fault);
  std::string text = "abc123def";
  int numbers[20] = {3, 1, 2};
  const Body nothing = [] {};
  callbacks = &tally;
  step_by_step();
  std::snprintf(text.data(), text.size(), "%d %.3f", 42, 3.25);
  std::qsort(numbers, 20, sizeof(int),
             [](const void* a, const void* b) { return *static_cast<const int*>(a) - *static_cast<const int*>(b); });
  realigned(3, nothing);
  by_rbp(3, nothing);
  ordinary(3, nothing);
  try {
    ordinary(1, [] { throw 2; });
  } catch (int) {
  }
  std::getenv("A");
  std::free(std::realloc(std::malloc(10), 5000));
  go_on();
  sigaction(SIGTRAP, &before_trap, nullptr);
  sigaction(SIGSEGV, &before_fault, nullptr);
  std::printf("  %zu instructions, %zu by rows, libgcc crashed in %zu\n", stepping.steps, stepping.by_rows,
              stepping.libgcc_crashed);
  EXPECT_EQ(stepping.different, 0u);
  EXPECT_GT(stepping.steps, 10'000u);
  EXPECT_GT(double(stepping.by_rows), double(stepping.steps) * 0.9);
}

// What is damaged.

TEST_F(RowsTest, NeverFaultWhateverTheRegistersHold) {
  const unsigned seed = 4;
  std::printf("  seed %u\n", seed);
  std::mt19937_64 random(seed);
  constexpr size_t kSize = 64 << 10;
  auto* const room = static_cast<char*>(mmap(nullptr, 3 * kSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  ASSERT_NE(room, static_cast<void*>(MAP_FAILED));
  ASSERT_EQ(mprotect(room + kSize, kSize, PROT_READ | PROT_WRITE), 0);
  std::vector<uintptr_t> pcs;  // of functions with frames of all kinds
  const auto collect = [&] {
    Frames frames;
    const size_t count = std::min(stack::kRows.walk(frames, __builtin_return_address(0)), stack::kMostFrames);
    pcs.insert(pcs.end(), frames.begin(), frames.begin() + count);
  };
  ordinary(2, collect);
  by_rbp(2, collect);
  realigned(2, collect);
  ASSERT_FALSE(pcs.empty());
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)), there = reinterpret_cast<uintptr_t>(room);
  for (uintptr_t at = there + kSize; at < there + 2 * kSize; at += sizeof at) {
    const uintptr_t kinds[] = {pcs[random() % pcs.size()], at + random() % 256 * 8, here + random() % 4096 * 8,
                               random()};
    *reinterpret_cast<uintptr_t*>(at) = kinds[random() % 4];
  }
  const auto some_address = [&]() -> uintptr_t {
    const uintptr_t aligned = random() % 16 == 0 ? 0 : 7, bits = random();
    switch (bits >> 60) {
      case 0:
        return bits;
      case 1:
        return bits % (uintptr_t{1} << 47);
      case 2:
        return ~uintptr_t{0} - bits % 64;
      case 3:
      case 4:
        return (here - 4096 + bits % 65536) & ~aligned;
      case 5:
        return (here & -4096) + (bits % 8192 & ~aligned);
      case 6:
        return (there + 2 * kSize - bits % 512) & ~aligned;
      default:
        return (there + bits % (3 * kSize)) & ~aligned;
    }
  };
  ucontext_t context{};
  size_t given_up = 0;
  Frames frames;
  const int walks = kSanitized ? 200'000 : std::getenv("POIREAU_SOAK") != nullptr ? 50'000'000 : 1'000'000;
  for (int i = 0; i < walks; ++i) {
    auto& registers = context.uc_mcontext.gregs;
    registers[REG_RIP] = static_cast<greg_t>(i % 16 == 0 ? random() : pcs[random() % pcs.size()] - random() % 2);
    registers[REG_RSP] = static_cast<greg_t>(some_address());
    registers[REG_RBP] = static_cast<greg_t>(some_address());
    given_up += stack::kRows.walk_from(frames, &context) == 0;
  }
  munmap(room, 3 * kSize);
  std::printf("  %zu of %d given up\n", given_up, walks);
  EXPECT_GT(given_up, 0u);
  EXPECT_LT(given_up, static_cast<size_t>(walks));
}

// Code that goes.

TEST_F(RowsTest, AreRightHoweverOftenCodeHasGone) {
  for (int round = 0; round < 2000; ++round) {
    stack::forget_code();
    ordinary(round % 10, look);
  }
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, AreRightWhileOtherThreadsFillAndForgetThem) {
  const int rounds = kSanitized ? 500 : 5000;
  std::atomic<bool> done{false};
  std::thread forgetting([&] {
    while (!done) stack::forget_code();
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < rounds; ++round)
        (round % 3 == 0 ? ordinary : round % 3 == 1 ? by_rbp : realigned)((round * 7 + t) % 40, look);
    });
  for (auto& thread : threads) thread.join();
  done = true;
  forgetting.join();
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

// The pages.

TEST_F(RowsTest, InASandboxStillReadTheStacksOfThreads) {
  const auto look_shut_in = [&] {
    const sandbox::State before = sandbox::enter(sandbox::State::filtered);
    forget_thread_number();  // and what this thread is known to have
    EXPECT_EQ(fault::for_each_fault([&] { ordinary(20, look); }), 0) << "the kernel was asked";
    sandbox::leave(before);
    forget_thread_number();
  };
  look_shut_in();
  EXPECT_TRUE(tally.all_by_rows()) << tally;
  std::thread(look_shut_in).join();
  EXPECT_TRUE(tally.all_by_rows()) << tally;
}

TEST_F(RowsTest, LeaveToLibgccWhatCannotBeShownToBeReadable) {
  forget_thread_number();
  size_t by_rows_when_failing = 0;
  fault::for_each_fault([&] {
    tally.by_rows = tally.walks = 0;
    forget_thread_number();
    ordinary(200, look);  // some pages
    by_rows_when_failing += tally.walks - tally.by_rows;
  });
  EXPECT_EQ(tally.different, 0u);
  EXPECT_GT(by_rows_when_failing, 0u);
}

TEST(Row, HoldsWhatItIsMadeOf) {
  using stack::Row;
  for (int kind = Row::rsp; kind <= Row::beyond; ++kind)
    for (uint64_t offset = 0; offset <= Row::kMostOffset; offset += 8)
      for (uint64_t saved = 8; saved <= Row::kMostSaved; saved += 48) {
        const Row row = Row::make(static_cast<Row::Kind>(kind), offset, saved);
        ASSERT_LT(row.bits, 1u << Row::kBits);
        ASSERT_EQ(std::tuple(row.kind(), row.offset(), row.saved()), std::tuple(kind, offset, saved));
      }
}

}  // namespace
}  // namespace poireau
