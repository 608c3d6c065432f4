#include "preload/report.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <csetjmp>
#include <functional>
#include <regex>
#include <sstream>
#include <thread>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "preload/thread.h"

namespace poireau {
namespace {

using report::Access;
using report::Error;
using report::Report;
using tracked_alloc::Block;

/// What `body` writes on standard error.
template <typename Body>
std::string said(Body&& body) {
  const int file = memfd_create("said", 0), before = dup(STDERR_FILENO);
  fcntl(file, F_SETFL, O_APPEND);  // the kernel guards no memfd's position
  dup2(file, STDERR_FILENO);
  body();
  dup2(before, STDERR_FILENO);
  close(before);
  std::string text(static_cast<size_t>(lseek(file, 0, SEEK_END)), 0);
  EXPECT_EQ(pread(file, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
  close(file);
  return text;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

/// Calls from a place of its own for each `number`: no report of one is known already.
[[gnu::noinline]] void elsewhere(unsigned number, const std::function<void()>& body) {
  if (number == 0) {
    body();
  } else if (number % 2 == 0) {
    elsewhere(number / 2, body);
    asm volatile("# even");
  } else {
    elsewhere(number / 2, body);
    asm volatile("# odd");
  }
}
unsigned next_place = 1;

std::string report_of(const Report& report) {
  return said([&] { elsewhere(next_place++, [&] { report::tell(report); }); });
}

void set(const char* option, const char* value) {
  ASSERT_EQ(config::set(option, value, "test", config::Phase::at_load), config::SetResult::ok) << option;
}

Block block(size_t size, Kind kind, bool live) {
  static const uintptr_t frames[] = {0x1234};
  const uint64_t now = clock::ticks();
  Block made{};
  made.address = 0x2000'0000'1000;
  made.size = size;
  made.kind = static_cast<uint8_t>(kind);
  made.live = live;
  made.birth = {1000, 0, false, now, 77, depot::intern(frames)};
  made.death = {now, 78, 0};
  return made;
}

class ReportTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    process::begin();
    clock::begin();
    stack::begin();
  }
  void TearDown() override {
    set("on_error", "continue");
    set("log", "error");
    set("stack_depth", "64");
    sandbox::leave(sandbox::State::open);
  }
};

constexpr uintptr_t kBlock = 0x2000'0000'1000;
const unsigned char kThree[] = {0x41, 0x00, 0xff};

TEST_F(ReportTest, TheFirstLineSaysWhatAndWhere) {
  const std::string name = "poireau: report_test[" + std::to_string(getpid()) + "]: ";
  const Block freed = block(24, Kind::malloc, false), live = block(24, Kind::malloc, true),
              by_new = block(24, Kind::_Znwm, true), array = block(1, Kind::_ZnamSt11align_val_t, false);
  const auto found = [](size_t count) { return std::span(kThree, count); };
  const struct {
    Report report;
    std::string line;
  } cases[] = {
      {{Error::use_after_free, Access::read, kBlock + 12, &freed, {}, 0, {}, {}, {}},
       "use after free: read at 0x20000000100c, 12 bytes into a freed 24-byte block from malloc"},
      {{Error::use_after_free, Access::unknown, kBlock - 1, &freed, {}, 0, {}, {}, {}},
       "use after free: access at 0x200000000fff, 1 byte before a freed 24-byte block from malloc"},
      {{Error::use_after_free, Access::execute, kBlock + 4, &array, {}, 0, {}, {}, {}},
       "use after free: execute at 0x200000001004, 3 bytes after a freed 1-byte block from operator new[]"},
      {{Error::use_after_free, Access::read, kBlock, &freed, "write", 0, {}, {}, {}},
       "use after free: read at 0x200000001000, 0 bytes into a freed 24-byte block from malloc, in write"},
      {{Error::overflow, Access::write, kBlock + 24, &live, {}, 0, {}, {}, {}},
       "overflow: write at 0x200000001018, 0 bytes after a 24-byte block from malloc"},
      {{Error::underflow, Access::read, kBlock - 1, &by_new, {}, 0, {}, {}, {}},
       "underflow: read at 0x200000000fff, 1 byte before a 24-byte block from operator new"},
      {{Error::wild_access, Access::write, kBlock, nullptr, {}, 0, {}, {}, {}},
       "wild access: write at 0x200000001000, where no block is"},
      {{Error::double_free, Access::unknown, kBlock, &freed, "free", 0, {}, {}, {}},
       "double free: 0x200000001000, a freed 24-byte block from malloc, given to free"},
      {{Error::invalid_free, Access::unknown, kBlock + 4, &live, "free", 0, {}, {}, {}},
       "invalid free: 0x200000001004, 4 bytes into a 24-byte block from malloc, given to free"},
      {{Error::invalid_free, Access::unknown, kBlock, nullptr, "free", 0, {}, {}, {}},
       "invalid free: 0x200000001000, where no block is, given to free"},
      {{Error::resize_of_freed, Access::unknown, kBlock, &freed, "realloc", 0, {}, {}, {}},
       "resize of a freed block: 0x200000001000, a freed 24-byte block from malloc, given to realloc"},
      {{Error::wrong_function, Access::unknown, kBlock, &by_new, "free", 0, {}, {}, {}},
       "mismatched release: 0x200000001000, a 24-byte block from operator new, given to free"},
      {{Error::wrong_size, Access::unknown, kBlock, &by_new, "operator delete", 32, {}, {}, {}},
       "wrong size: 0x200000001000, a 24-byte block from operator new, given to operator delete as 32 bytes"},
      {{Error::short_overflow, Access::unknown, kBlock + 24, &live, "free", 0, found(3), {}, {}},
       "short overflow: 3 bytes changed from 0x200000001018, 0 bytes after a 24-byte block from malloc, found by free"},
      {{Error::short_overflow, Access::unknown, kBlock - 1, &live, "free", 0, found(1), {}, {}},
       "short underflow: 1 byte changed from 0x200000000fff, 1 byte before a 24-byte block from malloc, found by free"},
      {{Error::write_after_free, Access::unknown, kBlock + 4, &freed, "quarantine", 0, found(3), {}, {}},
       "write after free: 3 bytes changed from 0x200000001004, 4 bytes into a freed 24-byte block from malloc, found "
       "by "
       "quarantine"},
  };
  for (const auto& [report, line] : cases) {
    // What is found later is known by where its block was asked for.
    Block own = report.block == nullptr ? Block{} : *report.block;
    const uintptr_t frame = 0x5000 + next_place;
    own.birth.stack = depot::intern({&frame, 1});
    Report again = report;
    if (report.block != nullptr) again.block = &own;
    const auto lines = lines_of(report_of(again));
    ASSERT_FALSE(lines.empty()) << line;
    EXPECT_EQ(lines[0], name + line);
  }
}

TEST_F(ReportTest, TheRestSaysWhoAndWhenAndWhatFollows) {
  prctl(PR_SET_NAME, "tester");
  uintptr_t frames[] = {0x1234, 0x5678};
  Block freed = block(24, Kind::malloc, false);
  freed.guarded = true;
  freed.guard_chance = (1u << 30) - 1;
  freed.death.stack = depot::intern(frames);
  while (clock::age() < 5'000'000) {  // in a process's first moments a tick's length is a guess
  }
  freed.birth.time -= clock::ticks_per_second() * 3 / 2;
  const std::string me = std::to_string(gettid());
  const std::string text = report_of({.error = Error::use_after_free, .address = kBlock, .block = &freed});
  const std::regex whole(
      "poireau: [^\n]*\n"
      "  by thread " +
      me +
      " \"tester\":\n"
      "(    report_test\\+0x[0-9a-f]+\n)+"
      "(    [^ \n]+\\+0x[0-9a-f]+\n)+"
      "  allocated 1\\.[5-9][0-9][0-9] s ago by thread 77:\n"
      "    0x1234\n"
      "  freed 0\\.[0-4][0-9][0-9] s ago by thread 78:\n"
      "    0x1234\n"
      "    0x5678\n"
      "  guarded 1 in 4 of such blocks\n"
      "  a sample every 512KiB \\(governed\\), guards governed\n"
      "  going on; on_error = abort would stop here\n");
  EXPECT_TRUE(std::regex_match(text, whole)) << text;
}

TEST_F(ReportTest, TheBytesFoundAreShown) {
  const Block live = block(24, Kind::malloc, true);
  const std::string text = report_of(
      {.error = Error::short_overflow, .address = kBlock + 24, .block = &live, .function = "free", .found = kThree});
  EXPECT_NE(text.find("\n  found: 41 00 ff\n  found by thread "), std::string::npos) << text;
}

TEST_F(ReportTest, InASandboxItAsksTheKernelForNothing) {
  const Block freed = block(24, Kind::malloc, false);
  sandbox::enter(sandbox::State::filtered);
  forget_thread_number();
  const std::string text = report_of({.error = Error::use_after_free, .address = kBlock, .block = &freed});
  EXPECT_TRUE(text.starts_with("poireau: report_test: use after free: ")) << text;
  EXPECT_NE(text.find("\n  allocated by thread 77:\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n  freed by thread 78\n"), std::string::npos) << text;
  EXPECT_EQ(text.find('"'), std::string::npos) << text;
  sandbox::leave(sandbox::State::open);
  forget_thread_number();
}

TEST_F(ReportTest, EachStackHasItsSayOnceAndAllAreCounted) {
  const uint64_t before = report::errors();
  const Report wild{.error = Error::wild_access, .address = kBlock};
  const unsigned here = next_place++, there = next_place++;
  std::vector<int> reports;
  for (const unsigned place : {here, here, there, here, there}) {
    const auto lines = lines_of(said([&] { elsewhere(place, [&] { report::tell(wild); }); }));
    reports.push_back(static_cast<int>(
        std::count_if(lines.begin(), lines.end(), [](auto& line) { return line.starts_with("poireau: "); })));
  }
  EXPECT_EQ(reports, (std::vector{1, 0, 1, 0, 0}));
  EXPECT_EQ(report::errors(), before + 5);
}

TEST_F(ReportTest, WithoutAnyStackEachKindHasItsSayOnce) {
  set("stack_depth", "0");
  for (const Error error : {Error::wild_access, Error::invalid_free}) {
    EXPECT_NE(report_of({.error = error, .address = kBlock, .function = "free"}), "");
    EXPECT_EQ(report_of({.error = error, .address = kBlock + 1, .function = "free"}), "");
  }
}

TEST_F(ReportTest, WhatIsFoundLaterIsKnownByItsBlock) {
  Block one = block(24, Kind::malloc, true), other = one;
  const uintptr_t here = 0x7001, there = 0x7002;
  one.birth.stack = depot::intern({&here, 1});
  other.birth.stack = depot::intern({&there, 1});
  const auto tell = [](const Block& block) {
    return report_of({.error = Error::short_overflow, .address = kBlock + 24, .block = &block, .found = kThree});
  };
  EXPECT_NE(tell(one), "");
  EXPECT_EQ(tell(one), "");
  EXPECT_NE(tell(other), "");
}

TEST_F(ReportTest, BeginsTheStackWithTheCaller) {
  const void* const caller = __builtin_return_address(0);
  const auto lines =
      lines_of(said([&] { report::tell({.error = Error::wild_access, .address = kBlock, .caller = caller}); }));
  const auto again = lines_of(said([&] {
    set("stack_depth", "63");
    report::tell({.error = Error::invalid_free, .address = kBlock, .function = "free", .caller = caller});
  }));
  ASSERT_GT(lines.size(), 4u);
  EXPECT_TRUE(std::regex_match(lines[2], std::regex(" +[^ ]*gtest.*|    report_test\\+.*"))) << lines[2];
  EXPECT_EQ(lines[2], again[2]);
}

TEST_F(ReportTest, IsSilentWhereLoggingIsOff) {
  set("log", "off");
  const uint64_t before = report::errors();
  EXPECT_EQ(report_of({.error = Error::wild_access, .address = kBlock}), "");
  EXPECT_EQ(report::errors(), before + 1);
}

TEST_F(ReportTest, KeepsErrnoWhateverFails) {
  const Block freed = block(24, Kind::malloc, false);
  errno = 77;
  said([&] {
    fault::for_each_fault([&] {
      elsewhere(next_place++,
                [&] { report::tell({.error = Error::use_after_free, .address = kBlock, .block = &freed}); });
      EXPECT_EQ(errno, 77);
    });
  });
}

using ReportDeathTest = ReportTest;

TEST_F(ReportDeathTest, OnRequestIsTheLastWordEvenWhereLoggingIsOff) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  set("on_error", "abort");
  set("log", "off");
  EXPECT_EXIT(report::tell({.error = Error::wild_access, .address = kBlock}), testing::KilledBySignal(SIGABRT),
              "wild access: .*\n(.*\n)*  aborting; on_error = continue would go on\n");
}

sigjmp_buf way_out;
uintptr_t rip, rsp;

void on_fault(int, siginfo_t*, void* context) {
  const auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  rip = static_cast<uintptr_t>(registers[REG_RIP]);
  rsp = static_cast<uintptr_t>(registers[REG_RSP]);
  report::tell({.error = Error::wild_access, .access = Access::write, .address = 16, .context = context});
  siglongjmp(way_out, 1);
}

TEST_F(ReportTest, AFaultShowsItsRegistersAndItsOwnStack) {
  struct sigaction mine {
  }, theirs;
  mine.sa_sigaction = on_fault;
  mine.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &mine, &theirs);
  const auto lines = lines_of(said([] {
    if (sigsetjmp(way_out, 1) == 0) asm volatile("movl $1, (%[at])" ::[at] "b"(uintptr_t{16}) : "memory");
  }));
  sigaction(SIGSEGV, &theirs, nullptr);
  ASSERT_GT(lines.size(), 8u);
  const auto begin = std::find(lines.begin(), lines.end(), "  registers:");
  ASSERT_EQ(lines.end() - begin, 8) << "five lines of them, how was sampled, and what follows";
  std::string all;
  for (auto line = begin + 1; line != lines.end() - 2; ++line) all += *line;
  const auto shown = [](const char* name, uintptr_t value) {
    char text[40];
    snprintf(text, sizeof text, " %s=%016lx", name, value);
    return std::string(text);
  };
  for (const std::string& text : {shown("rip", rip), shown("rsp", rsp), shown("rbx", 16)})
    EXPECT_NE(all.find(text), std::string::npos) << text << " in " << all;
  EXPECT_EQ(std::count(all.begin(), all.end(), '='), 18);
  EXPECT_TRUE(lines[2].starts_with("    report_test+0x")) << lines[2];
}

TEST_F(ReportTest, LinesOfTwoThreadsDoNotMix) {
  const Block freed = block(24, Kind::malloc, false);
  constexpr unsigned kEach = 60;
  const unsigned first = 1 << 20;
  const auto lines = lines_of(said([&] {
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (unsigned i = 0; i < kEach; ++i)
          elsewhere(first + t * kEach + i, [&] {
            report::tell({.error = Error::use_after_free, .access = Access::read, .address = kBlock, .block = &freed});
          });
      });
    for (auto& thread : threads) thread.join();
  }));
  const std::regex known(
      "poireau: report_test\\[\\d+\\]: use after free: read at 0x200000001000, 0 bytes into a freed 24-byte block from "
      "malloc|  by thread \\d+ \"[^\"]*\":|    (0x1234|[^ ]+\\+0x[0-9a-f]+)|  (allocated|freed) \\d+\\.\\d{3} s ago by "
      "thread 7[78]:?|  a sample every 512KiB \\(governed\\), guards governed|  going on; on_error = abort would stop "
      "here");
  for (const std::string& line : lines) EXPECT_TRUE(std::regex_match(line, known)) << line;
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](auto& line) { return line.starts_with("poireau: "); }),
            4 * kEach);
}

TEST_F(ReportTest, TooManyAreCountedAndThatIsSaidOnce) {
  const pid_t child = fork();  // there will be no room for more
  if (child == 0) {
    const uint64_t before = report::errors();
    const auto lines = lines_of(said([] {
      for (int i = 0; i < 2000; ++i)
        elsewhere(next_place++, [] { report::tell({.error = Error::wild_access, .address = kBlock}); });
    }));
    size_t reports = 0, ends = 0;
    for (const std::string& line : lines) {
      reports += line.find("wild access") != line.npos;
      ends += line.find("further ones are only counted") != line.npos;
    }
    EXPECT_GT(reports, 500u);
    EXPECT_LE(reports, 1024u);
    EXPECT_EQ(ends, 1u);
    EXPECT_EQ(report::errors(), before + 2000);
    _exit(HasFailure() ? 1 : 0);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace poireau
