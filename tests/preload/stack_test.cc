#include "preload/stack.h"

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <signal.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <csetjmp>
#include <thread>
#include <vector>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/thread.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;

static thread_local int requests = 0;  // of memory

extern "C" void* __libc_malloc(size_t);
extern "C" void* malloc(size_t size) {
  ++requests;
  return __libc_malloc(size);
}
#endif

// The table of our own library, under another name; here libgcc has its own, to compare with.
#define _Unwind_Find_FDE our_find
#include "preload/stack_tables.cc"
#undef _Unwind_Find_FDE
extern "C" const void* _Unwind_Find_FDE(void*, dwarf_eh_bases*);

namespace poireau {
namespace {

using Stack = std::vector<uintptr_t>;

[[gnu::noinline]] Stack captured(size_t room, const void* caller = nullptr) {
  Stack frames(room);
  frames.resize(stack::capture(frames, caller));
  return frames;
}

#define RETURNS_TO reinterpret_cast<uintptr_t>(__builtin_return_address(0))

struct Nested {
  Stack frames;
  Stack expected;  // innermost last
  size_t room = stack::kMostFrames;
  bool from_caller = false;
};

// Each returns into the one before, whatever the optimiser thinks of tail calls.
[[gnu::noinline]] void innermost(Nested& to) {
  to.expected.push_back(RETURNS_TO);
  to.frames = captured(to.room, to.from_caller ? __builtin_return_address(0) : nullptr);
  asm volatile("" ::: "memory");
}
[[gnu::noinline]] void middle(Nested& to) {
  to.expected.push_back(RETURNS_TO);
  innermost(to);
  asm volatile("" ::: "memory");
}
[[gnu::noinline]] void outermost(Nested& to) {
  to.expected.push_back(RETURNS_TO);
  middle(to);
  asm volatile("" ::: "memory");
}

void run(Nested& to) {
  outermost(to);
  std::reverse(to.expected.begin(), to.expected.end());
}

class StackTest : public testing::Test {
 protected:
  void SetUp() override { stack::begin(); }
  void TearDown() override {
    ASSERT_EQ(config::set("stack_depth", "64", "test", config::Phase::live), config::SetResult::ok);
  }
};

TEST_F(StackTest, IsThoseWhoCalledInnermostFirst) {
  Nested nested;
  run(nested);
  const auto found =
      std::search(nested.frames.begin(), nested.frames.end(), nested.expected.begin(), nested.expected.end());
  EXPECT_NE(found, nested.frames.end());
  EXPECT_LE(found - nested.frames.begin(), 2) << "captured, and innermost";
}

TEST_F(StackTest, BeginsWithTheCaller) {
  Nested nested;
  nested.from_caller = true;
  run(nested);
  ASSERT_GE(nested.frames.size(), 3u);
  EXPECT_TRUE(std::equal(nested.expected.begin(), nested.expected.end(), nested.frames.begin()));
}

const int kNobody = 0;
TEST_F(StackTest, OfACallerWhoIsNotThereIsWhole) { EXPECT_GT(captured(stack::kMostFrames, &kNobody).size(), 3u); }

TEST_F(StackTest, IsAsDeepAsThereIsRoomAndAsTheOptionSays) {
  for (const size_t room : {0u, 1u, 2u, 5u}) EXPECT_EQ(captured(room).size(), room);
  for (const char* depth : {"0", "1", "3"}) {
    ASSERT_EQ(config::set("stack_depth", depth, "test", config::Phase::live), config::SetResult::ok);
    EXPECT_EQ(captured(stack::kMostFrames).size(), std::stoul(depth));
  }
}

[[gnu::noinline]] Stack at_depth(int depth) {
  Stack frames = depth == 0 ? captured(stack::kMostFrames) : at_depth(depth - 1);
  asm volatile("" ::: "memory");
  return frames;
}

TEST_F(StackTest, OfADeepRecursionIsItsInnermostPart) {
  ASSERT_EQ(config::set("stack_depth", "128", "test", config::Phase::live), config::SetResult::ok);
  const Stack frames = at_depth(4000);
  ASSERT_EQ(frames.size(), stack::kMostFrames);
  EXPECT_EQ(frames[10], frames[100]);
}

TEST_F(StackTest, SaysWhetherThereWasMore) {
  ASSERT_EQ(config::set("stack_depth", "128", "test", config::Phase::live), config::SetResult::ok);
  uintptr_t frames[stack::kMostFrames];
  bool truncated = true;
  const size_t whole = stack::capture(frames, __builtin_return_address(0), &truncated);
  EXPECT_FALSE(truncated);
  for (size_t room = 0; room < whole + 3; ++room) {
    EXPECT_EQ(stack::capture({frames, room}, __builtin_return_address(0), &truncated), std::min(room, whole));
    EXPECT_EQ(truncated, room < whole) << room;
  }
  ASSERT_EQ(config::set("stack_depth", "3", "test", config::Phase::live), config::SetResult::ok);
  EXPECT_EQ(stack::capture(frames, __builtin_return_address(0), &truncated), 3u);
  EXPECT_TRUE(truncated);
}

/// Which unwinder is taken where this one is wanted.
std::string taken_for(const char* wanted) {
  EXPECT_EQ(config::set("unwinder", wanted, "test", config::Phase::at_load), config::SetResult::ok);
  stack::begin();
  std::string name(stack::unwinder());
  EXPECT_EQ(config::set("unwinder", "auto", "test", config::Phase::at_load), config::SetResult::ok);
  return name;
}

TEST_F(StackTest, IsWalkedAsTheOptionSays) {
  for (const char* name : {"rows", "libgcc", "fp", "none"}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(taken_for(name), name);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
    Nested nested;
    nested.from_caller = true;
    run(nested);
    ASSERT_FALSE(nested.frames.empty());
    EXPECT_EQ(nested.frames[0], nested.expected[0]) << name;
    if (name == std::string("none")) {
      EXPECT_EQ(nested.frames.size(), 1u);
    }
  }
  EXPECT_EQ(taken_for("auto"), "rows");
}

[[gnu::noinline, gnu::optimize("no-omit-frame-pointer")]] Stack chained(int depth) {
  Stack frames = depth == 0 ? captured(8, __builtin_return_address(0)) : chained(depth - 1);
  asm volatile("" ::: "memory");
  return frames;
}

TEST_F(StackTest, ByFramePointersIsTheChain) {
  EXPECT_EQ(taken_for("fp"), "fp");
  const Stack frames = chained(20);
  ASSERT_EQ(frames.size(), 8u);
  EXPECT_EQ(Stack(8, frames[1]), Stack(frames.begin(), frames.end()));
}

#ifdef POIREAU_FAULTS
[[gnu::noinline]] std::string taken_below(size_t room, const char* wanted) {
  auto* const below = static_cast<volatile char*>(__builtin_alloca(room));
  below[0] = 0;
  return taken_for(wanted + below[0]);
}

TEST_F(StackTest, WhatFailsItsSelfTestIsReplacedWithALine) {
  constexpr size_t kPage = 4096;
  constexpr int kMostCalls = 8;
  int replaced = 0;
  fault::error = ENOMEM;
  for (size_t room = 16; room <= kPage; room += 64) {  // for some, a trial's own frames lie on two pages
    for (int call = 0; call < kMostCalls; ++call) {
      forget_thread_number();
      fault::countdown = call;
      testing::internal::CaptureStderr();
      const std::string name = taken_below(room, "rows");
      fault::countdown = -1;
      const std::string said = testing::internal::GetCapturedStderr();
      if (name == "rows") {
        EXPECT_EQ(said, "");
        continue;
      }
      ++replaced;
      EXPECT_EQ(name, "libgcc");
      EXPECT_TRUE(said.ends_with(": unwinder rows failed its self-test: using libgcc\n")) << said;
    }
  }
  EXPECT_GE(replaced, 1);
}
#endif

TEST_F(StackTest, InAVforkChildIsTheParentsToo) {
  Nested here, there;
  const pid_t child = vfork();
  if (child == 0) {
    uintptr_t frames[4];
    _exit(stack::capture(frames) == 4 ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(StackTest, AsksForNoMemory) {
  std::thread([] {  // whose first it is
    uintptr_t frames[stack::kMostFrames];
    ucontext_t context;
    getcontext(&context);
    const int before = requests;
    size_t depth = stack::capture(frames);
    depth += stack::capture_from(&context, frames);
    EXPECT_EQ(requests, before);
    EXPECT_GT(depth, 2u);
  })
      .join();
}
#endif

// Signals.

Stack seen;
uintptr_t interrupted_at;
sigjmp_buf way_out;
int failing_call = -1;

void note(int, siginfo_t*, void*) {
  seen.resize(stack::kMostFrames);
  seen.resize(stack::capture(seen));
}

void note_and_leave(int, siginfo_t*, void* context) {
  interrupted_at = static_cast<uintptr_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP]);
  seen.resize(stack::kMostFrames);
#ifdef POIREAU_FAULTS
  fault::countdown = failing_call;
#endif
  seen.resize(stack::capture_from(context, seen));
#ifdef POIREAU_FAULTS
  fault::countdown = -1;
#endif
  siglongjmp(way_out, 1);
}

/// Runs `body` with a handler for `signal`, on a stack of its own if wanted.
template <typename Body>
void handling(int signal, void (*handler)(int, siginfo_t*, void*), bool elsewhere, Body&& body) {
  static char room[64 << 10];
  stack_t other{}, before{};
  other.ss_sp = room;
  other.ss_size = sizeof room;
  if (elsewhere) sigaltstack(&other, &before);
  struct sigaction mine {
  }, theirs;
  mine.sa_sigaction = handler;
  mine.sa_flags = SA_SIGINFO | (elsewhere ? SA_ONSTACK : 0);
  sigaction(signal, &mine, &theirs);
  seen.reserve(stack::kMostFrames);
  if (sigsetjmp(way_out, 1) == 0) body();
  sigaction(signal, &theirs, nullptr);
  if (elsewhere) sigaltstack(&before, nullptr);
}

[[gnu::noinline]] uintptr_t interrupted(int signal) {
  raise(signal);
  asm volatile("" ::: "memory");
  return RETURNS_TO;
}

class Signals : public StackTest, public testing::WithParamInterface<bool> {};

TEST_P(Signals, TheHandlersStackGoesOnWithWhatItInterrupted) {
  uintptr_t back = 0;
  handling(SIGUSR1, note, GetParam(), [&] { back = interrupted(SIGUSR1); });
  EXPECT_NE(std::find(seen.begin(), seen.end(), back), seen.end());
}

[[gnu::noinline]] void touch(volatile int* at, uintptr_t* back) {
  *back = RETURNS_TO;
  asm volatile("" ::: "memory");
  *at = 1;
}

TEST_P(Signals, AFaultsStackBeginsWithItsInstruction) {
  uintptr_t back = 0;
  handling(SIGSEGV, note_and_leave, GetParam(), [&] { touch(reinterpret_cast<int*>(16), &back); });
  ASSERT_GE(seen.size(), 2u);
  EXPECT_EQ(seen[0], interrupted_at);
  EXPECT_NEAR(double(seen[0]), double(reinterpret_cast<uintptr_t>(&touch)), 500);
  EXPECT_EQ(seen[1], back);
}

[[gnu::noinline]] uintptr_t jump(uintptr_t to) {
  reinterpret_cast<void (*)()>(to)();
  asm volatile("" ::: "memory");
  return RETURNS_TO;
}

TEST_P(Signals, AJumpIntoNowhereKnowsWhereItCameFrom) {
  const int data = 0;
  for (const uintptr_t to : {uintptr_t{0}, uintptr_t{0x1234}, reinterpret_cast<uintptr_t>(&data)}) {
    handling(SIGSEGV, note_and_leave, GetParam(), [&] { jump(to); });
    ASSERT_EQ(seen.size(), 2u) << to;
    EXPECT_EQ(seen[0], to);
    EXPECT_NEAR(double(seen[1]), double(reinterpret_cast<uintptr_t>(&jump)), 500);
  }
}

TEST_F(StackTest, AJumpOffTheStackHasNothingElse) {
  for (const uintptr_t stack : {uintptr_t{0}, uintptr_t{0x1230}, uintptr_t{0x1231}, uintptr_t{1} << 63}) {
    handling(SIGSEGV, note_and_leave, true, [stack] {
      asm volatile("mov %[stack], %%rsp; jmp *%[to]" ::[stack] "r"(stack), [to] "r"(uintptr_t{0x1234}));
    });
    EXPECT_EQ(seen, Stack{0x1234});
  }
}

#ifdef POIREAU_FAULTS
TEST_F(StackTest, AJumpIntoNowhereIsKnownWhateverFails) {
  failing_call = 0;
  handling(SIGSEGV, note_and_leave, false, [] { jump(0x1234); });
  failing_call = -1;
  EXPECT_EQ(seen, Stack{0x1234});
}
#endif

INSTANTIATE_TEST_SUITE_P(OnAStackOfItsOwn, Signals, testing::Bool());

[[gnu::noinline]] Stack before_the_call(ucontext_t& context) {
  getcontext(&context);
  return captured(stack::kMostFrames, __builtin_return_address(0));
}

TEST_F(StackTest, OfAContextIsWhatItsRegistersSay) {
  ucontext_t context;
  const Stack wanted = before_the_call(context);
  Stack frames(stack::kMostFrames);
  getcontext(&context);
  frames.resize(stack::capture_from(&context, frames));
  EXPECT_EQ(frames[0], static_cast<uintptr_t>(context.uc_mcontext.gregs[REG_RIP]));
  ASSERT_EQ(frames.size(), wanted.size());
  EXPECT_TRUE(std::equal(frames.begin() + 1, frames.end(), wanted.begin() + 1)) << "but for where each is here";
}

// A thread may have 16 KiB, of which a page or two are its own.
TEST_F(StackTest, TakesLittleStack) {
  if (kSanitized) GTEST_SKIP();
  constexpr size_t kSize = 64 << 10;
  static unsigned char room[kSize];
  static size_t used;
  static ucontext_t back, there;
  getcontext(&there);
  there.uc_stack.ss_sp = room;
  there.uc_stack.ss_size = sizeof room;
  there.uc_link = &back;
  std::fill(std::begin(room), std::end(room), 0xa5);
  makecontext(
      &there,
      [] {
        uintptr_t frames[4];
        static_cast<void>(stack::capture(frames));
        used = static_cast<size_t>(room + kSize - static_cast<unsigned char*>(__builtin_frame_address(0)));
      },
      0);
  swapcontext(&back, &there);
  const auto* lowest = std::find_if(room, room + kSize, [](unsigned char byte) { return byte != 0xa5; });
  const auto taken = static_cast<size_t>(room + kSize - lowest) - used;
  RecordProperty("bytes", static_cast<int>(taken));
  std::printf("  %zu bytes of stack\n", taken);
  EXPECT_LT(taken, 4096u);
}

// The tables.

int compare_in(dl_phdr_info* file, size_t, void* data) {
  auto& compared = *static_cast<size_t*>(data);
  for (const auto& segment : std::span(file->dlpi_phdr, file->dlpi_phnum)) {
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    const uintptr_t begin = file->dlpi_addr + segment.p_vaddr, end = begin + segment.p_memsz;
    for (uintptr_t pc = begin; pc < end; pc += 1 + pc % 3) {
      dwarf_eh_bases theirs{}, ours{};
      const void* const wanted = _Unwind_Find_FDE(reinterpret_cast<void*>(pc), &theirs);
      const void* const got = our_find(reinterpret_cast<void*>(pc), &ours);
      if (wanted == nullptr) {
        EXPECT_EQ(got, &kEnd.description) << file->dlpi_name << " " << std::hex << pc - file->dlpi_addr;
      } else {
        EXPECT_EQ(got, wanted) << file->dlpi_name << " " << std::hex << pc - file->dlpi_addr;
        EXPECT_EQ(ours.function, theirs.function);
        ++compared;
      }
      if (testing::Test::HasFailure()) return 1;
    }
  }
  return 0;
}

TEST_F(StackTest, OurTablesFindWhatLibgccFinds) {
  size_t compared = 0;
  dl_iterate_phdr(compare_in, &compared);
  EXPECT_GT(compared, 500'000u);
}

TEST_F(StackTest, OutsideOfAllFilesTheStackEnds) {
  int here;
  for (const uintptr_t pc : {uintptr_t{0}, uintptr_t{1}, reinterpret_cast<uintptr_t>(&here), UINTPTR_MAX}) {
    dwarf_eh_bases bases;
    EXPECT_EQ(our_find(reinterpret_cast<void*>(pc), &bases), &kEnd.description);
    EXPECT_EQ(bases.function, reinterpret_cast<void*>(pc));
  }
}

}  // namespace
}  // namespace poireau
