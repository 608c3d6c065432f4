#include "preload/trace_place.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include "config/options.h"
#include "preload/base/fault.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/trace_names.h"

namespace poireau {
namespace {

namespace fs = std::filesystem;
using Variables = std::vector<std::string>;

constexpr uid_t kNobody = 65534;

size_t descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& each : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

mode_t mode_of(const fs::path& path) {
  struct stat info;
  EXPECT_EQ(lstat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

std::string text(std::string_view view) { return std::string(view); }

/// Each test has a folder of its own, no environment, and no option.
class TracePlace : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "trace_place_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = fs::canonical(pattern);
    process::begin();
    set_trace("");
    look_at({});
  }
  void TearDown() override {
    sandbox::enter(sandbox::State::open);
    fs::remove_all(folder_);
  }

  static void set_trace(const std::string& path) {
    ASSERT_EQ(config::set("trace", path, "test", config::Phase::at_load), config::SetResult::ok) << path;
  }
  static void look_at(const Variables& variables) {
    std::vector<const char*> pointers;
    for (const std::string& each : variables) pointers.push_back(each.c_str());
    pointers.push_back(nullptr);
    trace::look_at_environment(pointers.data());
  }
  /// Where it was made; empty: nowhere, see `why_`.
  fs::path make() {
    std::string_view why;
    const bool made = trace::make_place(place_, why, room_);
    why_ = text(why);
    EXPECT_EQ(made, place_.path[0] != '\0');
    EXPECT_EQ(made, why_.empty()) << why_;
    return place_.path.data();
  }
  /// ... below `variables`.
  fs::path parent_of(const Variables& variables) {
    look_at(variables);
    const fs::path made = make();
    return made.empty() ? made : made.parent_path().parent_path();
  }

  fs::path folder_;
  trace::Place place_;
  std::string why_;

 private:
  char room_[300];
};

TEST_F(TracePlace, EachHasItsTurnToNameTheParent) {
  const std::string at = folder_;
  fs::create_directories(folder_ / "service");
  fs::create_directories(folder_ / "home");
  Variables variables{"A=b", "HOME=" + at + "/home"};
  EXPECT_EQ(parent_of(variables), folder_ / "home/.local/state/poireau/traces");
  variables.push_back("XDG_STATE_HOME=" + at + "/state");
  EXPECT_EQ(parent_of(variables), folder_ / "state/poireau/traces");
  variables.push_back("STATE_DIRECTORY=" + at + "/service:" + at + "/second");
  EXPECT_EQ(parent_of(variables), folder_ / "service");
  set_trace(at + "/named/deeper//");
  EXPECT_EQ(parent_of(variables), folder_ / "named/deeper");
  set_trace("");
  EXPECT_EQ(parent_of({"STATE_DIRECTORY=state", "XDG_STATE_HOME=", "HOME=home"}), "") << "none of them is a path";
  EXPECT_EQ(why_, "no directory for it: set trace, or HOME");
}

TEST_F(TracePlace, ItIsOursAlone) {
  const mode_t before = umask(0);
  set_trace(folder_ / "a/b");
  const fs::path made = make();
  umask(before);
  for (fs::path path = made; path != folder_; path = path.parent_path()) EXPECT_EQ(mode_of(path), 0700u) << path;
}

TEST_F(TracePlace, ItsNameTellsWhoseItIsAndSortsByAge) {
  set_trace(folder_);
  const fs::path first = make(), second = make();
  const std::string pid = std::to_string(getpid()), time = "[0-9]{8}-[0-9]{6}-";
  for (const fs::path& each : {first, second}) {
    EXPECT_TRUE(std::regex_match(text(each.filename().native()),
                                 std::regex(time + "trace_place_test-" + pid + "-[0-9a-f]+-[0-9a-f]+-[0-9a-f]+")))
        << each;
    EXPECT_TRUE(std::regex_match(text(each.parent_path().filename().native()),
                                 std::regex(time + "trace_place_test-" + pid + "-[0-9a-f]+")))
        << each;
  }
  EXPECT_NE(first, second);
  EXPECT_EQ(first.parent_path(), second.parent_path());
}

TEST_F(TracePlace, AForkChildJoinsItsParentsRun) {
  set_trace(folder_);
  const fs::path ours = make();
  const pid_t child = fork();
  if (child == 0) {
    process::forked();
    trace::forked_place();
    make();
    _exit(testing::Test::HasFailure());
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  size_t all = 0;
  for (const auto& each : fs::directory_iterator(ours.parent_path())) {
    trace::Maker maker;
    ASSERT_TRUE(trace::is_name_of_process(each.path().filename().native(), maker));
    EXPECT_EQ(maker.process, static_cast<uint32_t>(each == ours ? getpid() : child));
    ++all;
  }
  EXPECT_EQ(all, 2u);
}

TEST_F(TracePlace, TheRunIsTheOneItWasToldOfIfThatIsAName) {
  set_trace(folder_);
  const std::string run = "20261121-130000-make-77-0badcafe";
  for (int process = 0; process < 2; ++process) {
    look_at({"POIREAU_RUN=" + run});
    EXPECT_EQ(make().parent_path(), folder_ / run);
  }
  for (const std::string wrong : {"", ".", "..", "/", "run", "../20261121-130000-make-77-0badcafe",
                                  "20261121-130000-ma/ke-77-0badcafe", "20261121-130000-make-77-0badcafe0badcafe0"}) {
    look_at({"POIREAU_RUN=" + wrong});
    const fs::path made = make().parent_path();
    EXPECT_EQ(made.parent_path(), folder_);
    EXPECT_NE(made.filename(), wrong);
  }
}

TEST_F(TracePlace, WhatIsInTheWayIsSaid) {
  const std::string at = folder_;
  fs::create_directory(folder_ / "real");
  fs::create_directory_symlink("real", folder_ / "link");
  const std::string run = "20261121-130000-make-77-0badcafe";
  fs::create_directory_symlink("../real", folder_ / "real" / run);
  std::ofstream(folder_ / "file") << "x";
  const auto reason = [&](const std::string& named) {
    set_trace(named);
    EXPECT_EQ(make(), "") << named;
    return why_;
  };
  EXPECT_EQ(reason(at + "/link"), at + "/link is a symbolic link");
  EXPECT_EQ(reason(at + "/link/"), at + "/link is a symbolic link");
  EXPECT_EQ(reason(at + "/file"), at + "/file: part of the path is not a directory");
  EXPECT_EQ(reason("/proc/nothing/here"), "/proc/nothing/here: no such file or directory");
  look_at({"POIREAU_RUN=" + run});
  EXPECT_EQ(reason(at + "/real"), at + "/real/" + run + " is a symbolic link");
  look_at({"HOME=" + at + "/missing"});
  EXPECT_EQ(reason(""), at + "/missing/.local/state/poireau/traces: no such file or directory");
  EXPECT_FALSE(fs::exists(folder_ / "missing")) << "a home that is not there is none to be made";
}

TEST_F(TracePlace, OthersHaveNoPartInIt) {
  ASSERT_EQ(geteuid(), 0u) << "needs root, to make what belongs to somebody else";
  const std::string at = folder_, run = "20261121-130000-make-77-0badcafe";
  fs::create_directories(folder_ / "home/.local");
  fs::create_directories(folder_ / "parent" / run);
  look_at({"HOME=" + at + "/home"});
  chmod((at + "/home").c_str(), 0777);
  EXPECT_NE(make(), "") << why_;
  ASSERT_EQ(chown((at + "/home").c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(make(), "");
  EXPECT_EQ(why_, at + "/home belongs to another user");

  set_trace(at + "/parent");
  for (const mode_t mode : {0777, 0770, 0757}) {
    chmod((at + "/parent").c_str(), mode);
    EXPECT_EQ(make(), "");
    EXPECT_EQ(why_, at + "/parent may be written by others");
  }
  chmod((at + "/parent").c_str(), 01777);
  EXPECT_NE(make(), "") << "nobody can replace it there: " << why_;

  chmod((at + "/parent/" + run).c_str(), 0755);
  look_at({"POIREAU_RUN=" + run});
  EXPECT_EQ(make(), "");
  EXPECT_EQ(why_, at + "/parent/" + run + " is open to others");
  chmod((at + "/parent/" + run).c_str(), 0700);
  ASSERT_EQ(chown((at + "/parent/" + run).c_str(), kNobody, kNobody), 0);
  EXPECT_NE(make().parent_path(), fs::path(at) / "parent" / run) << "another user's run is none of ours";
  EXPECT_NE(place_.path[0], '\0') << why_;
}

TEST_F(TracePlace, AUserIsBoundAsWell) {
  ASSERT_EQ(geteuid(), 0u) << "needs root, to be somebody else";
  const std::string at = folder_;
  chmod(at.c_str(), 0755);
  for (const char* name : {"mine", "roots", "ones", "shared"}) fs::create_directory(folder_ / name);
  ASSERT_EQ(chown((at + "/mine").c_str(), kNobody, kNobody), 0);
  ASSERT_EQ(chown((at + "/ones").c_str(), 1, 1), 0);
  chmod((at + "/ones").c_str(), 01777);
  chmod((at + "/shared").c_str(), 01777);
  const pid_t child = fork();
  if (child == 0) {
    if (seteuid(kNobody) != 0) _exit(2);
    process::forked();
    const auto result = [&](const std::string& named) {
      set_trace(named);
      return make().empty() ? why_ : "made";
    };
    EXPECT_EQ(result(at + "/mine"), "made");
    EXPECT_EQ(result(at + "/shared"), "made");
    EXPECT_EQ(result(at + "/ones"), at + "/ones belongs to another user") << "who may remove what is in it";
    EXPECT_NE(result(at + "/roots"), "made");
    _exit(testing::Test::HasFailure());
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

TEST_F(TracePlace, ASandboxIsLeftAloneUnlessSomebodyNamedTheDirectory) {
  const Variables home{"HOME=" + text(folder_.native())};
  using enum sandbox::State;
  for (const sandbox::State state : {inherited, filtered, strict}) {
    sandbox::enter(state);
    look_at(home);
    set_trace("");
    EXPECT_EQ(make(), "");
    EXPECT_EQ(why_, "in a seccomp sandbox");
    set_trace(folder_);
    EXPECT_EQ(make().empty(), state != inherited);
  }
}

TEST_F(TracePlace, OpensTheDirectoryThatWasMadeAndNoOther) {
  set_trace(folder_);
  const fs::path made = make();
  const int opened = trace::open_place(place_);
  ASSERT_GE(opened, 0);
  EXPECT_EQ(fcntl(opened, F_GETFD), FD_CLOEXEC);
  close(opened);
  fs::rename(made, folder_ / "moved");
  EXPECT_EQ(trace::open_place(place_), -ENOENT);
  fs::create_directory(made);
  EXPECT_EQ(trace::open_place(place_), -ESTALE);
  fs::remove(made);
  fs::create_directory_symlink(folder_ / "moved", made);
  EXPECT_EQ(trace::open_place(place_), -ENOTDIR);
  EXPECT_EQ(trace::open_place(trace::Place{}), -ENOENT);
}

TEST_F(TracePlace, WhateverFailsNoDescriptorStays) {
  const size_t before = descriptors();
  constexpr int kErrors[] = {ENOMEM, EACCES, ENOENT, EEXIST, ENOSPC};
  int round = 0;
  for (const int error : kErrors) {
    const int calls = fault::for_each_fault(
        [&] {
          set_trace(folder_ / std::to_string(round++) / "deeper");
          if (make().empty()) return;
          const int opened = trace::open_place(place_);
          if (opened >= 0) close(opened);
        },
        error);
    EXPECT_GE(calls, 20);
  }
  constexpr size_t kCloses = 5;  // in a round; one that is made to fail closes nothing
  EXPECT_EQ(descriptors() - before, kCloses * std::size(kErrors));
}

TEST(TraceNames, TimesAreThoseOfTheCalendar) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::vector<int64_t> times{0, 951782399, 951782400, 951868800, 4107542400, 253402300799};
  for (int i = 0; i < 100000; ++i) times.push_back(static_cast<int64_t>(random() % 253402300800));
  for (const time_t time : times) {
    char expected[32];
    tm broken;
    strftime(expected, sizeof expected, "%Y%m%d-%H%M%S-x-1-2", gmtime_r(&time, &broken));
    ASSERT_STREQ(trace::name_of_run(time, "x", 1, 2).data(), expected) << time;
  }
}

TEST(TraceNames, AProgramCanBeCalledAnything) {
  const trace::Maker maker{4194304, UINT64_MAX, UINT32_MAX};
  for (const std::string program :
       {"", "a b/../c", "-", "a-1-2-3", "\xff\n\x01", "0123456789012345678901234567890123456789"}) {
    const trace::Name name = trace::name_of_process(1 << 30, program, maker, UINT32_MAX);
    ASSERT_LE(std::string_view(name.data()).size(), trace::kMostName);
    trace::Maker got;
    ASSERT_TRUE(trace::is_name_of_process(name.data(), got)) << name.data();
    EXPECT_EQ(got.process, maker.process);
    EXPECT_EQ(got.start, maker.start);
    EXPECT_EQ(got.home, maker.home);
    EXPECT_TRUE(trace::is_name_of_run(trace::name_of_run(1 << 30, program, 1, 2).data()));
  }
}

TEST(TraceNames, NothingElseIsTakenForOne) {
  trace::Maker maker;
  for (const char* name :
       {"", ".", "..", "Documents", "2026", "20261121-130000", "20261121-130000-make", "20261121-130000-make-77",
        "20261121-130000-make-77-", "20261121-130000-make--77", "20261121-130000-make-77-xyz", "20261121-130000--77-1",
        "20261121_130000-make-77-1", "2026112x-130000-make-77-1", "20261121-130000-make-99999999999-1",
        "20261121-130000-make-77-123456789", "20261121-130000-ma ke-77-1", ".20261121-130000-make-77-1",
        "20261121-130000-make-77-12345678901234567890"}) {
    EXPECT_FALSE(trace::is_name_of_run(name)) << name;
    EXPECT_FALSE(trace::is_name_of_process(name, maker)) << name;
  }
  EXPECT_FALSE(trace::is_name_of_process("20261121-130000-make-0-1-2-3", maker)) << "there is no process 0";
}

TEST(TraceNames, AProcessHasEndedWhenItsIdIsGoneOrAnothers) {
  trace::Maker self;
  ASSERT_TRUE(trace::know_ourselves(self));
  EXPECT_EQ(self.process, static_cast<uint32_t>(getpid()));
  ASSERT_NE(self.home, 0u) << "there is no /proc";
  EXPECT_FALSE(trace::ended(self, self.home));
  trace::Maker other = self;
  other.start -= 1;
  EXPECT_TRUE(trace::ended(other, self.home));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  other = {static_cast<uint32_t>(child), self.start, self.home};
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(trace::ended(other, self.home));
  other.home ^= 2;
  EXPECT_FALSE(trace::ended(other, self.home)) << "nothing is known of other machines";
  EXPECT_FALSE(trace::ended(other, 0));
  EXPECT_GE(fault::for_each_fault([&] { EXPECT_FALSE(trace::ended(self, self.home)); }, EACCES), 3);
}

}  // namespace
}  // namespace poireau
