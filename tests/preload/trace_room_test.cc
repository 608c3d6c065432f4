#include "preload/trace_room.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/process.h"
#include "preload/trace_names.h"

namespace poireau {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kPacket = 64 << 10, kMetadata = 16 << 10;
constexpr int64_t kStart = 1'700'000'000;

bool soak() {
  const char* const value = getenv("POIREAU_SOAK");
  return value != nullptr && *value != '\0' && std::string_view(value) != "0";
}

/// Of processes that are no more.
uint32_t dead_process() {
  static const pid_t gone = [] {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    waitpid(child, nullptr, 0);
    return child;
  }();
  return static_cast<uint32_t>(gone);
}

void put(const fs::path& file, uint64_t size) { std::ofstream(file) << std::string(size, 'x'); }

uint64_t taken(const fs::path& folder) {
  uint64_t sum = 0;
  std::error_code error;  // what is removed meanwhile
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    struct stat info;
    if (lstat(at->path().c_str(), &info) == 0) sum += static_cast<uint64_t>(info.st_blocks) * 512;
    if (S_ISDIR(info.st_mode)) sum += taken(at->path());
  }
  return sum;
}

class TraceRoom : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "trace_room_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = fs::canonical(pattern);
    process::begin();
    ASSERT_EQ(config::set("trace", folder_.native(), "test", config::Phase::at_load), config::SetResult::ok);
    ASSERT_TRUE(trace::know_ourselves(self_));
    ASSERT_NE(self_.home, 0u) << "there is no /proc";
    const char* none[] = {nullptr};
    trace::look_at_environment(none);
    make_own();
  }
  void TearDown() override {
    options.trace_total.store(1 << 30);
    fs::remove_all(folder_);
  }

  void make_own() {
    char room[300];
    std::string_view why;
    ASSERT_TRUE(trace::make_place(place_, why, room)) << why;
  }

  fs::path run(int age) { return folder_ / trace::name_of_run(kStart - age, "run", 1, 1).data(); }
  /// A process's trace of about 100 KiB.
  fs::path add(int run_age, int age, trace::Maker maker) {
    const fs::path path = run(run_age) / trace::name_of_process(kStart - age, "program", maker, 1).data();
    fs::create_directories(path);
    put(path / "metadata", kMetadata);
    put(path / "facts_1", 10 << 10);
    put(path / "samples_1", kPacket);
    put(path / ".samples_2", 10 << 10);
    return path;
  }
  fs::path add_ended(int run_age, int age) { return add(run_age, age, {dead_process(), 1, self_.home}); }
  /// Looks for sure: `bytes` are more than the share in which it looks once.
  bool look(uint64_t limit) {
    options.trace_total.store(limit);
    return trace::make_room(place_, limit / 60);
  }

  fs::path folder_;
  trace::Maker self_;
  trace::Place place_;
};

TEST_F(TraceRoom, TheOldestEndedRunsGoFirstThenWhatEndedInOthers) {
  const fs::path of_running = add_ended(900, 950), running = add(900, 10, self_);
  const fs::path oldest = add_ended(800, 20), older = add_ended(700, 40), young = add_ended(600, 30);
  const uint64_t all = taken(folder_), one = taken(young) + 4096;
  ASSERT_TRUE(look(all + one));
  EXPECT_TRUE(fs::exists(oldest)) << "there is room";
  ASSERT_TRUE(look(all - one / 2));
  EXPECT_FALSE(fs::exists(oldest));
  EXPECT_FALSE(fs::exists(oldest.parent_path()));
  EXPECT_TRUE(fs::exists(older));
  ASSERT_TRUE(look(all - one - one / 2));
  EXPECT_FALSE(fs::exists(older));
  EXPECT_TRUE(fs::exists(young));
  ASSERT_TRUE(look(all - 3 * one - one / 2));
  EXPECT_FALSE(fs::exists(young));
  EXPECT_FALSE(fs::exists(of_running));
  EXPECT_TRUE(fs::exists(running));
  EXPECT_FALSE(look(one / 2)) << "what runs stays";
  EXPECT_TRUE(fs::exists(running));
  EXPECT_TRUE(fs::exists(place_.path.data()));
}

TEST_F(TraceRoom, NothingIsRemovedThatIsNotOurs) {
  ASSERT_EQ(geteuid(), 0u) << "needs root, to make what belongs to somebody else";
  const fs::path with_more = add_ended(900, 900), of_other = add_ended(800, 800), linked = add_ended(700, 700);
  put(with_more / "letter.txt", 10);
  ASSERT_EQ(chown(of_other.c_str(), 65534, 65534), 0);
  fs::create_directory(folder_ / "elsewhere");
  put(folder_ / "elsewhere/samples_1", kPacket);
  fs::create_symlink(folder_ / "elsewhere/samples_1", linked / "samples_7");
  fs::create_directory_symlink(
      folder_ / "elsewhere",
      linked.parent_path() / trace::name_of_process(1, "link", {dead_process(), 1, 1}, 1).data());
  fs::create_directory_symlink(folder_ / "elsewhere", run(1000));
  fs::create_directories(folder_ / "20260101" / with_more.filename());
  put(folder_ / "20260101" / with_more.filename() / "samples_1", kPacket);
  put(folder_ / "samples_1", kPacket);
  EXPECT_FALSE(look(1000));
  EXPECT_TRUE(fs::exists(with_more / "letter.txt"));
  EXPECT_FALSE(fs::exists(with_more / "samples_1"));
  EXPECT_TRUE(fs::exists(of_other / "samples_1"));
  EXPECT_FALSE(fs::exists(linked));
  EXPECT_TRUE(fs::exists(folder_ / "elsewhere/samples_1"));
  EXPECT_TRUE(fs::exists(folder_ / "20260101" / with_more.filename() / "samples_1"));
  EXPECT_TRUE(fs::exists(folder_ / "samples_1"));
  EXPECT_TRUE(fs::is_symlink(run(1000)));
}

TEST_F(TraceRoom, OfOtherMachinesOnlyWhatIsUntouchedForADayHasEnded) {
  const fs::path fresh = add(900, 900, {dead_process(), 1, self_.home ^ 2}), unknown = add(800, 800, {1, 1, 0});
  EXPECT_FALSE(look(1000));
  EXPECT_TRUE(fs::exists(fresh));
  EXPECT_TRUE(fs::exists(unknown));
  const auto yesterday = fs::file_time_type::clock::now() - std::chrono::hours(25);
  for (const auto& file : fs::directory_iterator(fresh)) fs::last_write_time(file, yesterday);
  fs::last_write_time(fresh, yesterday);
  fs::last_write_time(unknown, yesterday);
  for (const auto& each : fs::directory_iterator(folder_))
    if (each.path().filename().native().starts_with(".full")) fs::remove(each);
  EXPECT_FALSE(look(1000));
  EXPECT_FALSE(fs::exists(fresh));
  EXPECT_TRUE(fs::exists(unknown)) << "somebody writes to its files";
}

TEST_F(TraceRoom, FullIsToldToOthersForAWhile) {
  add(900, 900, self_);
  EXPECT_FALSE(look(1000));
  options.trace_total.store(uint64_t{1} << 50);
  EXPECT_FALSE(trace::make_room(place_, 1)) << "without looking";
  const std::string mark = folder_ / (".full-" + std::to_string(geteuid()));
  ASSERT_TRUE(fs::exists(mark));
  fs::last_write_time(mark, fs::file_time_type::clock::now() - std::chrono::seconds(60));
  EXPECT_TRUE(trace::make_room(place_, 1)) << "looks again";
  EXPECT_FALSE(fs::exists(mark));
}

TEST_F(TraceRoom, ZeroIsNoLimit) {
  const fs::path trace = add_ended(900, 900);
  options.trace_total.store(0);
  EXPECT_TRUE(trace::make_room(place_, uint64_t{1} << 60));
  EXPECT_TRUE(fs::exists(trace));
}

TEST_F(TraceRoom, ItLooksInProportionToTheBytes) {
  constexpr uint64_t kLimit = 1 << 30;
  options.trace_total.store(kLimit);
  const int calls = soak() ? 1'000'000 : 20'000;
  const double expected = calls * double(kPacket) / (kLimit / 64);
  int looks = 0;
  for (int i = 0; i < calls; ++i) {
    fault::countdown = 1000;
    static_cast<void>(trace::make_room(place_, kPacket));
    looks += 1000 - fault::countdown > 12;  // a look has more calls than none
    fault::countdown = -1;
  }
  EXPECT_NEAR(looks, expected, 6 * std::sqrt(expected));
}

TEST_F(TraceRoom, WhateverFailsNoDescriptorAndNoMappingStays) {
  const auto count = [](const char* what) {
    std::ifstream file(what);
    return std::count(std::istreambuf_iterator<char>(file), {}, '\n');
  };
  const auto descriptors = [] { return std::distance(fs::directory_iterator("/proc/self/fd"), {}); };
  const auto fds = descriptors();
  const auto mappings = count("/proc/self/maps");
  constexpr int kErrors[] = {ENOMEM, EACCES, ENOENT};
  for (const int error : kErrors) {
    const int calls = fault::for_each_fault(
        [&] {
          const int64_t due = std::exchange(fault::countdown, -1);
          add_ended(900, 900);
          add_ended(900, 800);
          fs::remove(folder_ / (".full-" + std::to_string(geteuid())));
          fault::countdown = due;
          static_cast<void>(look(kPacket * 3 / 2));
        },
        error);
    EXPECT_GE(calls, 40);
  }
  constexpr int kCloses = 13, kUnmaps = 1;  // in a round; one that is made to fail does nothing
  EXPECT_EQ(descriptors() - fds, kCloses * std::ssize(kErrors));
  EXPECT_LE(count("/proc/self/maps") - mappings, kUnmaps * std::ssize(kErrors));
}

TEST_F(TraceRoom, ManyShortProcessesOfOneRunStayWithinTheirBound) {
  const int processes = soak() ? 2000 : 300;
  constexpr int kAtOnce = 8;
  constexpr uint64_t kTotal = 4 << 20;
  options.trace_total.store(kTotal);
  uint64_t most = 0;
  int running = 0, lost = 0;
  const auto reap = [&] {
    int status = 0;
    wait(&status);
    lost += status != 0;
    --running;
  };
  for (int i = 0; i < processes; ++i) {
    if (running == kAtOnce) reap();
    if (i % 10 == 0) most = std::max(most, taken(folder_));
    ++running;
    if (fork() != 0) continue;
    process::forked();
    trace::forked_place();
    make_own();
    bool written = true;
    const fs::path at = place_.path.data();
    put(at / "metadata", kMetadata);
    for (const char* name : {"facts_1", "samples_1"}) {
      if (trace::make_room(place_, kPacket))
        put(at / name, name[0] == 'f' ? 1 : kPacket);
      else
        written = false;
    }
    _exit(written ? 0 : 1);
  }
  while (running > 0) reap();
  EXPECT_LE(most, kTotal * 11 / 10);
  EXPECT_GE(most, kTotal * 8 / 10) << "there is no need to remove more";
  EXPECT_EQ(lost, 0) << "of " << processes;
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), {}), 1) << "one run";
  RecordProperty("exercised_processes_of_one_run", processes);
}

}  // namespace
}  // namespace poireau
