#include "preload/trace_stream.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "preload/base/fault.h"
#include "preload/base/random.h"
#include "preload/event.h"
#include "preload/sandbox.h"
#include "preload/trace_files.h"
#include "tests/preload/trace_reader.h"

namespace poireau::trace {
namespace {

namespace fs = std::filesystem;
using test::babeltrace_ids;
using test::read_trace;

constexpr Identity kIdentity{{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, 4711};

bool soak() { return std::getenv("POIREAU_SOAK") != nullptr && std::string(std::getenv("POIREAU_SOAK")) != "0"; }

/// A directory with a trace's metadata, and the place that it is.
class Directory {
 public:
  explicit Directory(bool mappable = true, std::string parent = fs::temp_directory_path()) {
    std::string name = parent + "/traces.XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    all = name;
    name += "/run/process";
    path = name;
    fs::create_directories(path);
    struct stat info;
    EXPECT_EQ(stat(name.c_str(), &info), 0);
    std::copy(name.begin(), name.end(), place.path.begin());
    place.device = info.st_dev;
    place.inode = info.st_ino;
    place.mappable = mappable;
    static std::array<char, ctf::kMetadataRoom> room;
    const size_t size = ctf::metadata(room, {kIdentity.uuid, 0, kIdentity.process, "test", "host", "0"});
    EXPECT_EQ(write_whole(place, "metadata", {room.data(), size}), 0);
  }
  ~Directory() { fs::remove_all(all); }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;

  [[nodiscard]] std::set<std::string> files() const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(path))
      if (entry.path().filename() != "metadata") names.insert(entry.path().filename());
    return names;
  }
  [[nodiscard]] uint64_t bytes() const {
    uint64_t sum = 0;
    for (const std::string& name : files()) sum += fs::file_size(path / name);
    return sum;
  }

  fs::path all, path;
  Place place;
};

/// Writes event number `id`. False: there is no room. Makes no system calls of its own.
bool write(Stream& stream, uint64_t id) {
  return test::with_event(id, [&](const event::Free& event) {
    const size_t size = ctf::size_of(event);
    char* const to = stream.reserve(size);
    if (to == nullptr) return false;
    ctf::encode(to, event, id);
    stream.commit(size);
    return true;
  });
}

std::vector<uint64_t> ids(const std::vector<test::Seen>& events) {
  std::vector<uint64_t> all;
  for (const test::Seen& event : events) all.push_back(event.id);
  return all;
}

std::vector<uint64_t> first(uint64_t count) {
  std::vector<uint64_t> all(count);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

int open_files() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

struct Mapped {
  int mappings = 0;
  long resident_kib = 0;
};
Mapped mapped(const fs::path& directory) {
  Mapped sum;
  bool inside = false;
  std::ifstream maps("/proc/self/smaps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find(directory.string() + "/") != line.npos) {
      inside = true;
      ++sum.mappings;
    } else if (line.starts_with("VmFlags:")) {
      inside = false;
    } else if (inside && line.starts_with("Rss:")) {
      sum.resident_kib += std::stol(line.substr(4));
    }
  }
  return sum;
}

template <typename Body>
int in_child(Body&& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/// In a child: the line of the first check that fails is its status.
#define MUST(what)                          \
  do {                                      \
    if (!(what)) return __LINE__ % 250 + 1; \
  } while (false)

void wait_for_another_try() { usleep(150'000); }

/// All there is of a stream, closed: nothing of it stays behind, in memory either.
struct Open : Stream {
  ~Open() { forget(); }
};

class TraceStream : public testing::TestWithParam<bool> {
 protected:
  const bool mappable = GetParam();
  Directory directory{mappable};
};
INSTANTIATE_TEST_SUITE_P(, TraceStream, testing::Bool(),
                         [](const auto& info) { return info.param ? "Mapped" : "Written"; });

TEST_P(TraceStream, HoldsEachEventInFilesThatDouble) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, false}));
  uint64_t id = 0;
  for (; stream.file() < 6; ++id) ASSERT_TRUE(write(stream, id));
  stream.flush();
  const std::set<std::string> files = directory.files();
  for (const auto& [name, packets] : {std::pair("s_1", 1), {"s_2", 2}, {"s_3", 4}, {"s_4", 4}, {"s_5", 4}})
    EXPECT_EQ(fs::file_size(directory.path / name), packets * ctf::kPacket) << name;
  EXPECT_EQ(ids(read_trace(directory.path)), first(id));
  EXPECT_EQ(babeltrace_ids(directory.path), first(id));
  for (const test::Seen& event : read_trace(directory.path)) EXPECT_LE(event.file, 6u);
  EXPECT_EQ(stream.bytes(), directory.bytes());
  EXPECT_EQ(stream.oldest(), 1u);
  EXPECT_EQ(stream.trouble(), Trouble::none);
}

TEST_P(TraceStream, TakesOnePacketForFewEventsAndGivesBackWhatItDoesNotNeed) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, false}));
  uint64_t id = 0;
  for (; directory.files().size() == 1; ++id) ASSERT_TRUE(write(stream, id));
  EXPECT_GT(id, 100u);
  EXPECT_TRUE(directory.files().contains(".s_2"));
  stream.trim();
  EXPECT_EQ(directory.files(), std::set<std::string>{"s_1"});
  EXPECT_EQ(stream.bytes(), ctf::kPacket);
  for (; !directory.files().contains("s_2"); ++id) ASSERT_TRUE(write(stream, id));
  EXPECT_EQ(stream.file(), 1u);
  stream.trim();
  EXPECT_EQ(directory.files(), std::set<std::string>{"s_1"});
  EXPECT_EQ(stream.bytes(), ctf::kPacket);
  for (; stream.file() < 3; ++id) ASSERT_TRUE(write(stream, id));
  stream.flush();
  EXPECT_EQ(ids(read_trace(directory.path)), first(id));
  EXPECT_EQ(stream.bytes(), directory.bytes());
}

TEST_P(TraceStream, NumbersItsPacketsWithoutAGap) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, false}));
  for (uint64_t id = 0; stream.file() < 6; ++id) {
    if (!write(stream, id)) {
      stream.be_hopeful();
      ASSERT_TRUE(write(stream, id));
    }
    if (id % 700 == 650) stream.trim();
    if (id % 1000 == 900) fs::remove(directory.path / (".s_" + std::to_string(stream.file() + 1)));
  }
  uint64_t next = 0;
  for (uint32_t file = 1; file <= stream.file(); ++file) {
    const std::string content = test::content_of(directory.path / ("s_" + std::to_string(file)));
    ASSERT_NE(content.size(), 0u);
    for (size_t at = 0; at < content.size(); at += ctf::kPacket) {
      ctf::PacketHeader header;
      std::memcpy(&header, content.data() + at, sizeof header);
      EXPECT_EQ(header.sequence, next++) << "file " << file;
    }
  }
}

TEST_P(TraceStream, RemovesItsOldestFilesButNotTheCurrentOne) {
  Open stream;
  EXPECT_FALSE(stream.remove_oldest());
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, true}));
  EXPECT_FALSE(stream.remove_oldest());
  uint64_t id = 0;
  for (; stream.file() < 7; ++id) {
    ASSERT_TRUE(write(stream, id));
    if (stream.file() - stream.oldest() > 2) {
      EXPECT_TRUE(stream.remove_oldest());
    }
    EXPECT_LE(stream.bytes(), directory.bytes());
    EXPECT_GE(stream.bytes() + 4 * ctf::kPacket, directory.bytes()) << "what is being removed";
  }
  stream.flush();
  for (; !directory.files().contains("s_8"); ++id) ASSERT_TRUE(write(stream, id));
  EXPECT_FALSE(directory.files().contains(".s_4"));
  EXPECT_EQ(stream.file(), 7u) << "it is the next one";
  stream.flush();
  EXPECT_EQ(stream.bytes(), directory.bytes());
  EXPECT_EQ(stream.oldest(), 5u);
  EXPECT_FALSE(directory.files().contains("s_4"));
  const auto left = ids(read_trace(directory.path));
  EXPECT_EQ(left.back(), id - 1);
  EXPECT_EQ(left.back() - left.front() + 1, left.size());
  fs::remove(directory.path / "s_5");
  EXPECT_TRUE(stream.remove_oldest()) << "somebody else did it";
  EXPECT_TRUE(stream.remove_oldest());
  EXPECT_FALSE(stream.remove_oldest());
  stream.trim();
  EXPECT_EQ(directory.files(), std::set<std::string>{"s_7"});
  EXPECT_EQ(stream.bytes(), directory.bytes());
}

TEST_P(TraceStream, KeepsNoDescriptorAndFewPages) {
  const int files = open_files();
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {16, true}));
  long most = 0;
  for (uint64_t id = 0; stream.file() < 7; ++id) {
    ASSERT_TRUE(write(stream, id));
    if (id % 50 == 0) most = std::max(most, mapped(directory.path).resident_kib);
  }
  EXPECT_EQ(open_files(), files);
  EXPECT_LE(most, 192);
  EXPECT_LE(mapped(directory.path).mappings, mappable ? 3 : 0);
}

TEST_P(TraceStream, DoesLittleInACall) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, false}));
  int64_t most = 0;
  for (uint64_t id = 0; stream.file() < 6; ++id) {
    constexpr int64_t kMany = 1'000'000;
    fault::countdown = kMany;
    ASSERT_TRUE(write(stream, id));
    most = std::max(most, kMany - fault::countdown);
    fault::countdown = -1;
  }
  EXPECT_LE(most, 40);  // 16, and now and then a look at what there is in all
}

TEST_P(TraceStream, LosesNothingThatWasCommittedWhicheverCallFails) {
  const uint32_t last = !mappable ? 2 : soak() ? 4 : 3;
  for (const int error : {ENOSPC, EACCES, EOPNOTSUPP, ENOENT}) {
    if (!soak() && (error == ENOENT || error == (mappable ? EACCES : EOPNOTSUPP))) continue;
    int run = 0;
    const int calls = fault::for_each_fault(
        [&] {
          const int64_t armed = std::exchange(fault::countdown, -1);
          Directory own(mappable, "/dev/shm");  // the quickest
          const int files = open_files();
          fault::countdown = armed;
          std::vector<uint64_t> written;
          {
            Open stream;
            ASSERT_TRUE(stream.open(own.place, kIdentity, "s", {2, false}) ||
                        stream.open(own.place, kIdentity, "s", {2, false}));
            bool waited = run++ % 16 != 0;
            for (uint64_t id = 0; stream.file() < last && id < 2000; ++id) {
              bool done = write(stream, id);
              if (!done && !std::exchange(waited, true)) {
                wait_for_another_try();
                done = write(stream, id);
                EXPECT_TRUE(done);
              }
              if (done) written.push_back(id);
              if (id == 200) stream.trim();
            }
            stream.remove_oldest();
            stream.flush();
            stream.flush();
            stream.trim();
            stream.trim();
            if (error != ENOENT) {  // a lie, told of a file that is there
              EXPECT_EQ(stream.bytes(), own.bytes());
            }
          }
          EXPECT_LE(open_files(), files + 1) << "where closing itself failed";
          if (mappable) {
            EXPECT_LE(mapped(own.path).mappings, 1) << "where unmapping itself failed";
          }
          const auto read = ids(read_trace(own.path));
          ASSERT_LE(read.size(), written.size());
          written.erase(written.begin(), written.end() - read.size());  // with the file that was removed
          EXPECT_EQ(read, written);
          if (run % 64 == 0) {
            EXPECT_EQ(babeltrace_ids(own.path), written);
          }
          ASSERT_FALSE(HasFailure()) << "call " << run << " with " << error;
        },
        error);
    EXPECT_GT(calls, 50);
  }
}

/// What a child that wrote from 0 on left behind: events without a gap, up to one it had begun, and all it had
/// completed but for what may wait in memory.
void expect_all_but_waiting(const Directory& directory, uint64_t completed, uint64_t started,
                            bool by_babeltrace = true) {
  constexpr size_t kMayWait = 4096;
  const auto read = ids(read_trace(directory.path));
  ASSERT_EQ(read, first(read.size()));
  EXPECT_LE(read.size(), started);
  size_t lost = 0;
  for (uint64_t id = read.size(); id < completed; ++id) lost += test::size_of_event(id);
  EXPECT_LE(lost, directory.place.mappable ? 0 : kMayWait);
  if (by_babeltrace) {
    EXPECT_EQ(babeltrace_ids(directory.path), read);
  }
}

struct Counters {
  std::atomic<uint64_t> started, completed;
};
Counters& shared_counters() {
  void* const got = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return *new (got) Counters;
}

void write_and_count(Stream& stream, Counters& counters, uint64_t events) {
  for (uint64_t id = 0; id < events; ++id) {
    counters.started = id + 1;
    if (!write(stream, id)) _exit(1);
    counters.completed = id + 1;
  }
}

TEST_P(TraceStream, IsWholeWheneverItsProcessIsKilled) {
  const uint64_t seed = 20;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random{seed};
  Counters& counters = shared_counters();
  for (int run = 0; run < (soak() ? 200 : 10); ++run) {
    Directory own(mappable, run % 2 == 0 ? "/dev/shm" : "/tmp");
    counters.started = counters.completed = 0;
    const pid_t child = fork();
    if (child == 0) {
      Stream stream;
      if (stream.open(own.place, kIdentity, "s", {4, false})) write_and_count(stream, counters, UINT64_MAX);
      _exit(1);
    }
    usleep(random.next() % 10'000);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
    expect_all_but_waiting(own, counters.completed, counters.started);
    ASSERT_FALSE(HasFailure()) << "run " << run;
  }
}

TEST_P(TraceStream, IsWholeBeforeAndAfterEachSystemCall) {
  Counters& counters = shared_counters();
  for (int stops = 0;; stops += soak() || stops < 64 ? 1 : 3) {  // odd, so that it is before some and after others
    Directory own(mappable, "/dev/shm");
    counters.started = counters.completed = 0;
    const pid_t child = fork();
    if (child == 0) {
      Stream stream;
      if (ptrace(PTRACE_TRACEME, 0, 0, 0) != 0 || raise(SIGSTOP) != 0) _exit(1);
      if (!stream.open(own.place, kIdentity, "s", {2, false})) _exit(2);
      write_and_count(stream, counters, mappable ? 700 : 330);
      _exit(0);
    }
    int status = 0;
    ASSERT_TRUE(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    for (int i = 0; i <= stops && WIFSTOPPED(status); ++i) {
      ASSERT_EQ(ptrace(PTRACE_SYSCALL, child, 0, 0), 0);
      ASSERT_EQ(waitpid(child, &status, 0), child);
    }
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      EXPECT_GT(stops, 100);
      break;
    }
    kill(child, SIGKILL);
    ASSERT_TRUE(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    expect_all_but_waiting(own, counters.completed, counters.started, soak() || stops % 32 == 0);
    ASSERT_FALSE(HasFailure()) << "stop " << stops;
  }
}

TEST_P(TraceStream, DropsWhatADiskHasNoRoomForAndGoesOnWhenItHas) {
  Directory mount_point;
  ASSERT_EQ(mount("tmpfs", mount_point.path.c_str(), "tmpfs", 0, "size=400k,mode=0700"), 0)
      << "this test mounts a file system: it has to be run by root";
  {
    Directory own(mappable, mount_point.path);
    EXPECT_EQ(in_child([&] {
                Stream stream;
                MUST(stream.open(own.place, kIdentity, "s", {2, false}));
                uint64_t id = 0;
                while (write(stream, id)) ++id;
                MUST(stream.trouble() == Trouble::full && stream.file() > 2);
                for (int i = 0; i < 1000; ++i) MUST(!write(stream, id));
                stream.flush();
                MUST(ids(read_trace(own.path)) == first(id) && stream.bytes() == own.bytes());
                MUST(stream.remove_oldest() && stream.remove_oldest());
                wait_for_another_try();
                const uint64_t before = id;
                while (write(stream, id)) ++id;
                MUST(id > before && stream.trouble() == Trouble::full);
                stream.flush();
                const auto read = ids(read_trace(own.path));
                MUST(read.back() == id - 1 && id - read.front() == read.size());
                return babeltrace_ids(own.path) == read ? 0 : 1;
              }),
              0);
  }
  EXPECT_EQ(umount(mount_point.path.c_str()), 0);
}

TEST_P(TraceStream, StaysBelowTheLimitOfFileSizes) {
  for (const rlim_t limit : {rlim_t{0}, rlim_t{64} << 10, rlim_t{100} << 10, rlim_t{1} << 20}) {
    Directory own(mappable, "/dev/shm");
    EXPECT_EQ(in_child([&] {
                const rlimit limits{limit, limit};
                MUST(setrlimit(RLIMIT_FSIZE, &limits) == 0);
                Stream stream;
                MUST(stream.open(own.place, kIdentity, "s", {32, false}) == (limit != 0));
                if (limit == 0) return stream.trouble() == Trouble::full && own.files().empty() ? 0 : 1;
                uint64_t id = 0;
                while (stream.file() < 8) MUST(write(stream, id++));
                for (const std::string& name : own.files()) MUST(fs::file_size(own.path / name) <= limit);
                const rlimit none{0, 0};
                MUST(setrlimit(RLIMIT_FSIZE, &none) == 0);
                stream.flush();
                while (write(stream, id)) ++id;
                MUST(stream.trouble() == Trouble::full);
                if (mappable) MUST(ids(read_trace(own.path)) == first(id));
                return 0;
              }),
              0)
        << limit;
  }
}

TEST_P(TraceStream, WaitsForItsDirectoryToComeBack) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {2, false}));
  uint64_t id = 0;
  while (stream.file() < 3) ASSERT_TRUE(write(stream, id++));
  const fs::path away = directory.path.string() + ".away";
  fs::rename(directory.path, away);
  while (write(stream, id)) ++id;
  EXPECT_EQ(stream.trouble(), Trouble::gone);
  fs::create_directory(directory.path);
  wait_for_another_try();
  EXPECT_FALSE(write(stream, id));
  EXPECT_EQ(stream.trouble(), Trouble::gone) << "another one of that name";
  fs::remove(directory.path);
  fs::rename(away, directory.path);
  wait_for_another_try();
  while (stream.file() < 6) ASSERT_TRUE(write(stream, id++));
  stream.flush();
  EXPECT_EQ(ids(read_trace(directory.path)), first(id));
  EXPECT_EQ(stream.bytes(), directory.bytes());
}

TEST_P(TraceStream, OutlivesItsDirectory) {
  for (const bool recorder : {false, true}) {
    Directory own(mappable);
    Open stream;
    ASSERT_TRUE(stream.open(own.place, kIdentity, "s", {2, recorder}));
    uint64_t id = 0;
    while (stream.file() < 3) ASSERT_TRUE(write(stream, id++));
    fs::remove_all(own.path);
    for (int i = 0; i < 5000; ++i) write(stream, id++);
    EXPECT_EQ(write(stream, id), recorder && mappable);
    EXPECT_EQ(stream.trouble(), Trouble::gone);
    stream.flush();
    stream.trim();
    stream.prepare_for_sandbox();
  }
}

TEST_P(TraceStream, IsNotTheChildsAfterAFork) {
  Directory childs(mappable);
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {2, true}));
  uint64_t id = 0;
  const auto some = [&](Stream& to) {
    for (int i = 0; i < 400; ++i)
      if (!write(to, id++)) return false;
    return true;
  };
  ASSERT_TRUE(some(stream));
  EXPECT_EQ(in_child([&] {
              stream.forget();
              MUST(mapped(directory.path).mappings == 0);
              MUST(stream.reserve(1) == nullptr && stream.bytes() == 0 && !stream.remove_oldest());
              id = 0;
              MUST(stream.open(childs.place, kIdentity, "s", {2, true}) && some(stream));
              stream.flush();
              return ids(read_trace(childs.path)) == first(id) ? 0 : 1;
            }),
            0);
  ASSERT_TRUE(some(stream));
  stream.flush();
  EXPECT_EQ(ids(read_trace(directory.path)), first(id));
}

/// From now on no system call but write and exit.
bool enter_sandbox() {
  sock_filter rules[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  sock_fprog program{std::size(rules), rules};
  sandbox::enter(sandbox::State::filtered);
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

#ifndef POIREAU_SANITIZED  // a sanitizer makes system calls of its own
TEST_P(TraceStream, IsAFlightRecorderInASandbox) {
  constexpr uint64_t kEvents = 20'000;
  ASSERT_EQ(in_child([&] {
              Stream stream;
              MUST(stream.open(directory.place, kIdentity, "s", {4, true}));
              uint64_t id = 0;
              while (stream.file() < 3) MUST(write(stream, id++));
              stream.prepare_for_sandbox();
              stream.prepare_for_sandbox();
              const uint32_t before = stream.file();
              MUST(enter_sandbox());
              if (!mappable) return !write(stream, id) && stream.trouble() == Trouble::sandbox ? 0 : 1;
              for (; id < kEvents; ++id) MUST(write(stream, id));
              MUST(stream.trouble() == Trouble::sandbox && stream.file() > before + 8);
              MUST(stream.file() - stream.oldest() == 3 && !stream.remove_oldest());
              stream.flush();
              stream.trim();
              stream.prepare_for_sandbox();
              return 0;
            }),
            0);
  const auto read = ids(read_trace(directory.path));
  EXPECT_EQ(babeltrace_ids(directory.path), read);
  if (!mappable) {
    EXPECT_EQ(read, first(read.size()));
    return;
  }
  // What came before stays, and of the rest there is what the last packets hold.
  size_t kept = 0, latest = 0;
  while (read[kept] == kept) ++kept;
  while (read[read.size() - latest - 1] == kEvents - latest - 1) ++latest;
  EXPECT_EQ(kept + latest, read.size());
  EXPECT_GT(kept, 700u);
  EXPECT_GT(latest, 900u);
}
#endif

TEST(TraceStreamRecorder, IsWholeWheneverItsProcessIsKilled) {
  const uint64_t seed = 21;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random{seed};
  Counters& counters = shared_counters();
  for (int run = 0; run < (soak() ? 200 : 10); ++run) {
    Directory own(true, "/dev/shm");
    counters.started = counters.completed = 0;
    const pid_t child = fork();
    if (child == 0) {
      Stream stream;
      if (!stream.open(own.place, kIdentity, "s", {2, true}) || !write(stream, 0)) _exit(1);
      stream.prepare_for_sandbox();
      sandbox::enter(sandbox::State::filtered);
      write_and_count(stream, counters, UINT64_MAX);
    }
    usleep(random.next() % 10'000);
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_TRUE(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    const auto read = ids(read_trace(own.path));
    EXPECT_EQ(babeltrace_ids(own.path), read);
    if (counters.completed > 1) {
      EXPECT_GE(read.back() + 1, counters.completed);
    }
    ASSERT_FALSE(HasFailure()) << "run " << run;
  }
}

#ifndef POIREAU_SANITIZED
TEST_P(TraceStream, WithoutARecorderFillsWhatWasPreparedForASandbox) {
  Counters& counters = shared_counters();
  ASSERT_EQ(in_child([&] {
              Stream stream;
              MUST(stream.open(directory.place, kIdentity, "s", {4, false}));
              uint64_t id = 0;
              while (stream.file() < 2) MUST(write(stream, id++));
              stream.prepare_for_sandbox();
              MUST(enter_sandbox());
              const uint64_t before = id;
              while (write(stream, id)) ++id;
              counters.completed = id;
              return stream.trouble() == Trouble::sandbox && (!mappable || id > before + 1000) ? 0 : 1;
            }),
            0);
  EXPECT_EQ(ids(read_trace(directory.path)), first(counters.completed));
  EXPECT_EQ(babeltrace_ids(directory.path), first(counters.completed));
}
#endif

TEST_P(TraceStream, GoesOnWhenTheFilterWasRefused) {
  Open stream;
  ASSERT_TRUE(stream.open(directory.place, kIdentity, "s", {4, true}));
  uint64_t id = 0;
  for (int i = 0; i < 3; ++i) {
    stream.prepare_for_sandbox();
    const auto before = sandbox::enter(sandbox::State::filtered);
    for (int j = 0; mappable && j < 500; ++j) ASSERT_TRUE(write(stream, id++));
    sandbox::leave(before);
    for (int j = 0; j < 2000; ++j) ASSERT_TRUE(write(stream, id++));
  }
  stream.flush();
  EXPECT_EQ(ids(read_trace(directory.path)), first(id));
  EXPECT_EQ(stream.bytes(), directory.bytes());
  EXPECT_LE(mapped(directory.path).mappings, mappable ? 5 : 0);
}

}  // namespace
}  // namespace poireau::trace
