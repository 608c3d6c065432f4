#include "tracked_alloc/pages.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "preload/base/fault.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/tracked_alloc.h"

namespace poireau::tracked_alloc {
namespace {

using pages::Guards;
using pages::Mechanism;

constexpr size_t kPage = 4096, kChunk = size_t{2} << 20;

/// Addresses that nobody uses: in the region, as in earnest; where a sanitizer has that, low in a large hole.
char* fresh(size_t size) {
  static uintptr_t next = [] {
    void* got = sys::map_closed_at(reinterpret_cast<void*>(kRegion + (size_t{1} << 40)), kPage);
    if (got != nullptr) {
      munmap(got, kPage);
    } else {
      got = mmap(nullptr, size_t{64} << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      munmap(got, size_t{64} << 30);
    }
    return reinterpret_cast<uintptr_t>(got) / kChunk * kChunk + kChunk;
  }();
  const uintptr_t at = next;
  next += (size / kChunk + 2) * kChunk;
  return reinterpret_cast<char*>(at);
}

/// How many mappings lie in the range; `flag` counts those that have it in smaps.
int mappings(const char* at, size_t size, const char* flag = nullptr) {
  std::ifstream maps(flag == nullptr ? "/proc/self/maps" : "/proc/self/smaps");
  const auto begin = reinterpret_cast<uintptr_t>(at);
  bool inside = false;
  int count = 0;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t from, to;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &from, &to) == 2) {
      inside = from < begin + size && to > begin;
      count += inside && flag == nullptr;
    } else if (inside && flag != nullptr && line.starts_with("VmFlags:")) {
      count += line.find(std::string(" ") + flag + " ") != std::string::npos;
    }
  }
  return count;
}

long resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  return -1;
}

int open_files() {
  int count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

/// As the kernel sees it, without a fault: a signal mask is to be read there.
bool is_open(const char* at) { return syscall(SYS_rt_sigprocmask, -1, at, nullptr, 8) == -1 && errno == EINVAL; }

bool all_are(bool open, const char* at, size_t size) {
  for (size_t i = 0; i < size; i += kPage)
    if (is_open(at + i) != open) return false;
  return true;
}

bool is_zero(const char* at, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (at[i] != 0) return false;
  return true;
}

sigjmp_buf after_fault;
void* volatile fault_address;

/// The signal that `access` ends with; 0: none.
template <typename Access>
int signal_of(Access&& access) {
  struct sigaction before[2], ours{};
  ours.sa_flags = SA_SIGINFO;
  ours.sa_sigaction = [](int signal, siginfo_t* info, void*) {
    fault_address = info->si_addr;
    siglongjmp(after_fault, signal);
  };
  sigaction(SIGSEGV, &ours, &before[0]);
  sigaction(SIGBUS, &ours, &before[1]);
  const int signal = sigsetjmp(after_fault, 1);
  if (signal == 0) access();
  sigaction(SIGSEGV, &before[0], nullptr);
  sigaction(SIGBUS, &before[1], nullptr);
  return signal;
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

class Pages : public testing::TestWithParam<const Guards*> {
 protected:
  void SetUp() override {
    if (!guards.probe()) GTEST_SKIP() << "this kernel has no " << pages::name_of(guards.mechanism);
    RecordProperty("exercised_guards", pages::name_of(guards.mechanism));
  }

  const Guards& guards = *GetParam();
  const int signal = guards.mechanism == Mechanism::userfaultfd ? SIGBUS : SIGSEGV;
};

INSTANTIATE_TEST_SUITE_P(All, Pages, testing::Values(&pages::kMarkers, &pages::kUserfaultfd, &pages::kMprotect),
                         [](const auto& info) { return std::string(pages::name_of(info.param->mechanism)); });

TEST_P(Pages, AreClosedOpenedZeroedAndClosedAgain) {
  char* const at = fresh(kChunk);
  ASSERT_TRUE(guards.map(at, kChunk));
  EXPECT_TRUE(all_are(false, at, kChunk));
  for (const size_t size : {kPage, 3 * kPage}) {
    char* const home = at + 7 * kPage;
    for (int turn = 0; turn < 3; ++turn) {
      ASSERT_TRUE(guards.open(home, size));
      EXPECT_TRUE(is_zero(home, size));
      std::memset(home, 0xa5, size);
      EXPECT_TRUE(all_are(false, at, 7 * kPage));
      EXPECT_TRUE(all_are(false, home + size, kChunk - 7 * kPage - size));
      EXPECT_EQ(signal_of([&] { home[-1] = 1; }), signal);
      EXPECT_EQ(fault_address, home - 1);
      EXPECT_EQ(signal_of([&] { static_cast<void>(*const_cast<volatile char*>(home + size)); }), signal);
      ASSERT_TRUE(guards.close(home, size));
      EXPECT_EQ(signal_of([&] { home[17] = 1; }), signal);
      EXPECT_EQ(fault_address, home + 17);
      EXPECT_TRUE(all_are(false, at, kChunk));
    }
  }
  EXPECT_FALSE(guards.map(at, kPage)) << "taken";
  EXPECT_TRUE(all_are(false, at, kChunk));
  EXPECT_TRUE(pages::unmap(at, kChunk));
  EXPECT_EQ(mappings(at, kChunk), 0);
}

TEST_P(Pages, KeepWhatTheyHoldWhenOpenedTwice) {
  char* const at = fresh(kChunk);
  ASSERT_TRUE(guards.map(at, kChunk) && guards.open(at, kPage));
  *at = 42;
  EXPECT_TRUE(guards.open(at, kPage));
  EXPECT_EQ(*at, 42);
  for (int turn = 0; turn < 2; ++turn) {  // as often as they were opened
    ASSERT_TRUE(guards.close(at, kPage));
    EXPECT_FALSE(is_open(at));
  }
  ASSERT_TRUE(pages::unmap(at, kChunk));
}

TEST_P(Pages, OfAdjacentRangesAreOneMappingHoweverOftenTheyWereUsed) {
  constexpr size_t kRanges = 6, kSlots = kRanges * kChunk / (2 * kPage) - 1, kMost = 200;
  char* const at = fresh(kRanges * kChunk);
  std::vector<char*> live;
  Random random{1};
  for (size_t range = 0; range < kRanges; ++range) {
    ASSERT_TRUE(guards.map(at + range * kChunk, kChunk));
    EXPECT_EQ(mappings(at, kRanges * kChunk), 1 + (guards.mechanism == Mechanism::mprotect ? 2 * live.size() : 0));
    for (int i = 0; i < 3000; ++i) {
      if (live.size() == kMost || (range + i >= kMost && random.next() % 2 != 0 && !live.empty())) {
        std::swap(live[random.next() % live.size()], live.back());
        ASSERT_TRUE(guards.close(live.back(), kPage));
        live.pop_back();
      } else {
        char* const home = at + (random.next() % (kSlots * (range + 1) / kRanges) * 2 + 1) * kPage;
        if (std::find(live.begin(), live.end(), home) != live.end()) continue;
        ASSERT_TRUE(guards.open(home, kPage));
        *home = 1;
        live.push_back(home);
      }
    }
  }
  for (char* const home : live) ASSERT_TRUE(guards.close(home, kPage));
  EXPECT_EQ(mappings(at, kRanges * kChunk), 1);
  EXPECT_EQ(mappings(at, kRanges * kChunk, "nh"), 1) << "they can be made huge";
  ASSERT_TRUE(pages::unmap(at, kRanges * kChunk));
}

TEST_P(Pages, StayAsTheyWereWhicheverCallFails) {
  for (const int error : {ENOMEM, EINVAL, EAGAIN, EBADF, EPERM}) {
    const int files = open_files();
    char* const at = fresh(kChunk);
    char* const home = at + kPage;
    const int calls = fault::for_each_fault(
        [&] {
          if (!guards.map(at, kChunk)) {
            EXPECT_EQ(mappings(at, kChunk), 0) << error;
            return;
          }
          EXPECT_TRUE(all_are(false, at, kChunk)) << error;
          if (guards.open(home, 2 * kPage)) {
            EXPECT_TRUE(is_zero(home, 2 * kPage));
            std::memset(home, 1, 2 * kPage);
            const bool closed = guards.close(home, 2 * kPage);
            EXPECT_TRUE(all_are(!closed, home, 2 * kPage)) << error;
            if (!closed) {
              EXPECT_TRUE(guards.close(home, 2 * kPage)) << error;
            }
          }
          EXPECT_TRUE(all_are(false, at, kChunk)) << error;
          EXPECT_FALSE(pages::guards_lost());
          if (!pages::unmap(at, kChunk)) {
            EXPECT_TRUE(pages::unmap(at, kChunk));
          }
        },
        error);
    EXPECT_GE(calls, 7);
    EXPECT_EQ(mappings(at, kChunk), 0);
    EXPECT_EQ(open_files(), files);
  }
}

TEST_P(Pages, WorkInForkChildrenAndTheirsWithoutTouchingTheParents) {
  char* const at = fresh(kChunk);
  char *const kept = at + kPage, *const other = at + 3 * kPage, *const third = at + 5 * kPage;
  ASSERT_TRUE(guards.map(at, kChunk) && guards.open(kept, kPage));
  *kept = 42;
  const int files = open_files();
  const auto child = [&](auto&& self, int generation) -> int {
    MUST(guards.map_again(at, kChunk));
    MUST(open_files() == files);
    MUST(*kept == 42 && all_are(false, other, kChunk - 3 * kPage));
    MUST(signal_of([&] { *other = 1; }) == signal);
    MUST(guards.open(other, kPage) && *other == 0);
    *other = *kept = 1;
    MUST(guards.close(kept, kPage) && !is_open(kept));
    MUST(guards.open(kept, kPage) && *kept == 0);
    *kept = 42;
    MUST(guards.close(other, kPage));
    return generation == 0 ? 0 : in_child([&] { return self(self, generation - 1); });
  };
  EXPECT_EQ(in_child([&] { return child(child, 2); }), 0);
  EXPECT_EQ(*kept, 42);
  EXPECT_TRUE(all_are(false, other, kChunk - 3 * kPage));
  ASSERT_TRUE(guards.open(third, kPage) && guards.close(third, kPage) && guards.close(kept, kPage));
  ASSERT_TRUE(pages::unmap(at, kChunk));
}

TEST_P(Pages, AreNotLockedByMlockall) {
  for (const int flags : {MCL_FUTURE, MCL_FUTURE | MCL_ONFAULT})
    EXPECT_EQ(in_child([&] {
                MUST(guards.map_again(nullptr, 0) || guards.probe());
                MUST(mlockall(flags) == 0);
                const long before = resident_kib();
                char* const at = fresh(8 * kChunk);
                MUST(guards.map(at, 4 * kChunk) && pages::map_plain(at + 4 * kChunk, 4 * kChunk, true));
                MUST(resident_kib() - before < 4096);
                MUST(mappings(at, 8 * kChunk, "lo") == 0);
                char* const home = at + kPage;
                for (int turn = 0; turn < 2; ++turn) {
                  MUST(guards.open(home, kPage) && *home == 0);
                  *home = 1;
                  MUST(guards.close(home, kPage) && signal_of([&] { *home = 1; }) == signal);
                }
                return 0;
              }),
              0)
        << flags;
}

TEST_P(Pages, AreUnlockedAgainAfterMlockall) {
  char* const at = fresh(4 * kChunk);
  char *const home = at + kPage, *const plain = at + 2 * kChunk;
  EXPECT_EQ(in_child([&] {
              MUST(guards.map_again(nullptr, 0) || guards.probe());
              MUST(guards.map(at, 2 * kChunk) && pages::map_plain(plain, 2 * kChunk, true));
              MUST(guards.open(home, kPage));
              *home = *plain = 1;
              // What mlockall(MCL_CURRENT | MCL_ONFAULT) does to them, and everybody may.
              MUST(mlock2(at, 4 * kChunk, MLOCK_ONFAULT) == 0);
              MUST(guards.open(home + 2 * kPage, kPage));
              MUST(guards.close(home, kPage) && signal_of([&] { *home = 1; }) == signal);
              MUST(guards.open(home, kPage) && *home == 0);
              MUST(guards.close(home, kPage) && guards.close(home + 2 * kPage, kPage));
              MUST(pages::drop(plain, kPage) && *plain == 0);
              // By chunks in the region: each home unlocked on its own would be a mapping of its own.
              MUST(mappings(at, 4 * kChunk) <= 4 || reinterpret_cast<uintptr_t>(at) >= kRegion + kRegionSize);
              return 0;
            }),
            0);
}

TEST_P(Pages, AreRefusedUnderALimitAndNothingIsLeftBehind) {
  for (const int resource : {RLIMIT_AS, RLIMIT_DATA})
    EXPECT_EQ(in_child([&] {
                MUST(guards.map_again(nullptr, 0) || guards.probe());
                const rlimit none{kPage, RLIM_INFINITY};
                char* const at = fresh(kChunk);
                MUST(setrlimit(resource, &none) == 0);
                const bool mapped = guards.map(at, kChunk) || pages::map_plain(at, kChunk, true);
                const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
                MUST(setrlimit(resource, &all) == 0);
                MUST(!mapped && mappings(at, kChunk) == 0);
                MUST(guards.map(at, kChunk));
                return 0;
              }),
              0)
        << resource;
}

TEST_P(Pages, OfTwoThreadsDoNotDisturbEachOther) {
  char* const at = fresh(kChunk);
  ASSERT_TRUE(guards.map(at, kChunk));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&, t] {
      char* const home = at + (1 + 2 * t) * kPage;
      for (int i = 0; i < 5000; ++i) {
        if (!guards.open(home, kPage) || *home != 0) ++wrong;
        *home = 1;
        if (!guards.close(home, kPage) || is_open(home)) ++wrong;
      }
    });
  std::thread mover([&] {
    while (!done && guards.mechanism == Mechanism::userfaultfd)
      if (!pages::move_descriptor()) ++wrong;
  });
  for (auto& thread : threads) thread.join();
  done = true;
  mover.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_FALSE(pages::guards_lost());
  EXPECT_EQ(mappings(at, kChunk), 1);
  ASSERT_TRUE(pages::unmap(at, kChunk));
}

TEST_P(Pages, AskNothingOfASealedKernelAndOnlyGiveBackToAFilteredOne) {
  EXPECT_EQ(in_child([&] {
              MUST(guards.map_again(nullptr, 0) || guards.probe());
              char *const at = fresh(kChunk), *const plain = fresh(kChunk);
              MUST(guards.map(at, kChunk) && guards.open(at, kPage) && pages::map_plain(plain, kChunk, true));
              *at = *plain = 1;
              MUST(pages::seal(pages::Seal::strict) == pages::Seal::none);
              MUST(fault::for_each_fault([&] {
                     if (guards.map(fresh(kPage), kPage) || guards.open(at + kPage, kPage) || guards.close(at, kPage) ||
                         pages::map_plain(fresh(kPage), kPage, true) || pages::drop(plain, kPage) ||
                         pages::unmap(plain, kPage) || pages::move_descriptor())
                       std::abort();
                   }) == 0);
              MUST(*at == 1 && *plain == 1);
              MUST(pages::seal(pages::Seal::filtered) == pages::Seal::strict);
              MUST(!guards.open(at + kPage, kPage) && !guards.map(fresh(kPage), kPage));
              MUST(pages::drop(plain, kPage) && *plain == 0 && pages::unmap(plain, kChunk));
              MUST(pages::seal(pages::Seal::none) == pages::Seal::filtered);
              MUST(guards.open(at + kPage, kPage));
              return 0;
            }),
            0);
}

/// Kills for every system call but those of the loader and of glibc's malloc.
bool enter_a_filter() {
#define ALLOW(number) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
  sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      ALLOW(SYS_mmap),
      ALLOW(SYS_munmap),
      ALLOW(SYS_mprotect),
      ALLOW(SYS_exit_group),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[2])),
      ALLOW(MADV_DONTNEED),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
#undef ALLOW
  sock_fprog program{sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(PagesChoice, BehindAFilterIsMprotectWithoutACallThatItMightKillFor) {
  for (const Mechanism wanted : {Mechanism::automatic, Mechanism::mprotect}) {
    char* const at = fresh(2 * kChunk);
    EXPECT_EQ(in_child([&] {
                if (!enter_a_filter()) return 99;
                pages::set_environment(false, false);
                const Guards& guards = pages::choose(wanted, false);
                MUST(guards.mechanism == Mechanism::mprotect);
                MUST(guards.map(at, kChunk) && guards.open(at, kPage) && *at == 0);
                *at = 1;
                MUST(guards.close(at, kPage) && guards.open(at, kPage) && *at == 0);
                char* const plain = at + kChunk;
                MUST(pages::map_plain(plain, kChunk, true));
                *plain = 1;
                MUST(pages::drop(plain, kPage) && *plain == 0 && pages::unmap(plain, kChunk));
                MUST(pages::choose(Mechanism::markers, false).mechanism == Mechanism::none);
                MUST(pages::choose(Mechanism::userfaultfd, false).mechanism == Mechanism::none);
                MUST(!pages::kMarkers.map(plain, kChunk) && !pages::kUserfaultfd.map(plain, kChunk));
                return 0;
              }),
              0);
  }
}

TEST(PagesChoice, IsTheFirstThatWorksOrTheOneThatIsForced) {
  Mechanism first = Mechanism::none;
  for (const Guards* guards : {&pages::kMprotect, &pages::kUserfaultfd, &pages::kMarkers}) {
    const bool works = guards->probe();
    if (works) first = guards->mechanism;
    EXPECT_EQ(pages::choose(guards->mechanism, true).mechanism, works ? guards->mechanism : Mechanism::none);
  }
  EXPECT_EQ(pages::choose(Mechanism::automatic, true).mechanism, first);
  const Guards& none = pages::choose(Mechanism::none, true);
  EXPECT_EQ(none.mechanism, Mechanism::none);
  EXPECT_FALSE(none.map(fresh(kChunk), kChunk));
}

TEST(PagesChoice, IsMadeWhicheverCallFailsAndLeavesNothingBehind) {
  for (const Mechanism wanted :
       {Mechanism::automatic, Mechanism::markers, Mechanism::userfaultfd, Mechanism::mprotect}) {
    EXPECT_EQ(in_child([&] {
                const int files = open_files() - (pages::descriptor() >= 0);
                bool sane = true;
                fault::for_each_fault([&] {
                  const Guards& guards = pages::choose(wanted, true);
                  char* const at = fresh(kChunk);
                  if (guards.mechanism != Mechanism::none)
                    sane = sane && guards.map(at, kChunk) == (mappings(at, kChunk) != 0);
                });
                MUST(sane);
                // Where close itself fails, and where the parent's descriptor can't be told, one stays open.
                MUST(open_files() <= files + (pages::descriptor() >= 0) + 3);
                return 0;
              }),
              0);
  }
}

TEST(PagesChoice, HasANameForEachMechanism) {
  EXPECT_STREQ(pages::name_of(Mechanism::automatic), "automatic");
  EXPECT_STREQ(pages::name_of(Mechanism::markers), "markers");
  EXPECT_STREQ(pages::name_of(Mechanism::userfaultfd), "userfaultfd");
  EXPECT_STREQ(pages::name_of(Mechanism::mprotect), "mprotect");
  EXPECT_STREQ(pages::name_of(Mechanism::none), "none");
}

TEST(PlainPages, AreZeroMergeAndAreGivenBack) {
  char* const at = fresh(3 * kChunk);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(pages::map_plain(at + i * kChunk, kChunk, true));
    at[i * kChunk] = 1;
    EXPECT_EQ(mappings(at, 3 * kChunk), 1);
  }
  EXPECT_EQ(mappings(at, 3 * kChunk, "nh"), 1);
  EXPECT_EQ(mappings(at, 3 * kChunk, "dd"), 0);
  EXPECT_FALSE(pages::map_plain(at + kChunk, kPage, true)) << "taken";
  EXPECT_TRUE(pages::drop(at, kPage));
  EXPECT_EQ(*at, 0);
  EXPECT_EQ(at[kChunk], 1);
  ASSERT_TRUE(pages::unmap(at, 3 * kChunk));

  char* const large = fresh(kChunk);
  ASSERT_TRUE(pages::map_plain(large, kChunk, false));
  EXPECT_EQ(mappings(large, kChunk, "nh"), 0) << "large homes may be huge pages";
  ASSERT_TRUE(pages::unmap(large, kChunk));
}

TEST(PlainPages, AreMappedWhollyOrNotAtAllWhicheverCallFails) {
  for (const int error : {ENOMEM, EAGAIN, EINVAL}) {
    char* const at = fresh(kChunk);
    EXPECT_GE(fault::for_each_fault(
                  [&] {
                    if (!pages::map_plain(at, kChunk, true)) {
                      EXPECT_EQ(mappings(at, kChunk), 0);
                      return;
                    }
                    *at = 1;
                    EXPECT_EQ(*at, pages::drop(at, kPage) ? 0 : 1);
                    if (!pages::unmap(at, kChunk)) {
                      EXPECT_TRUE(pages::unmap(at, kChunk));
                    }
                  },
                  error),
              5);
    EXPECT_EQ(mappings(at, kChunk), 0);
  }
}

TEST(Environment, KeepsPagesOutOfCoreDumps) {
  EXPECT_EQ(in_child([] {
              pages::set_environment(false, true);
              for (const Guards* guards : {&pages::kMarkers, &pages::kUserfaultfd, &pages::kMprotect}) {
                if (!guards->probe()) continue;
                char* const at = fresh(2 * kChunk);
                MUST(guards->map(at, kChunk) && guards->map(at + kChunk, kChunk));
                MUST(mappings(at, 2 * kChunk) == 1 && mappings(at, 2 * kChunk, "dd") == 1);
              }
              char* const plain = fresh(kChunk);
              MUST(pages::map_plain(plain, kChunk, true) && mappings(plain, kChunk, "dd") == 1);
              return 0;
            }),
            0);
}

TEST(Mprotect, LeavesMostMappingsToTheProgramHoweverManyForksGoBefore) {
  constexpr size_t kRanges = 80;
  const Guards& guards = pages::kMprotect;
  ASSERT_TRUE(guards.probe());
  char* const at = fresh(kRanges * kChunk);
  std::vector<char*> live;
  Random random{1};
  const auto generation = [&](auto&& self, int left) -> int {
    for (char* const home : live) MUST(guards.close(home, kPage));
    live.clear();
    for (size_t i = 0; i < 2 * guards.most; ++i) {
      char* const home = at + (random.next() % (kRanges * kChunk / (2 * kPage)) * 2 + 1) * kPage;
      if (is_open(home) || !guards.open(home, kPage)) continue;
      *home = 1;
      live.push_back(home);
    }
    MUST(live.size() <= guards.most && mappings(at, kRanges * kChunk) <= static_cast<int>(2 * guards.most + 1));
    for (size_t i = live.size() / 2; i > 0; --i, live.pop_back()) MUST(guards.close(live.back(), kPage));
    if (left == 0) return 0;
    return in_child([&] {
      MUST(guards.map_again(at, kRanges * kChunk));
      return self(self, left - 1);
    });
  };
  EXPECT_EQ(in_child([&] {
              for (size_t i = 0; i < kRanges; ++i) MUST(guards.map(at + i * kChunk, kChunk));
              return generation(generation, 4);
            }),
            0);
}

class Userfaultfd : public testing::Test {
 protected:
  void SetUp() override {
    if (!guards.probe()) GTEST_SKIP() << "this kernel has no userfaultfd";
    ASSERT_TRUE(guards.map(at, kChunk));
    ASSERT_TRUE(guards.open(at, kPage));
    *at = 42;
  }
  void TearDown() override { EXPECT_TRUE(pages::unmap(at, kChunk)); }

  const Guards& guards = pages::kUserfaultfd;
  char* const at = fresh(kChunk);
};

TEST_F(Userfaultfd, KeepsItsDescriptorHighAndOutOfExec) {
  EXPECT_GE(pages::descriptor(), 100);
  EXPECT_EQ(fcntl(pages::descriptor(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(guards.largest, kPage - 1);
}

TEST_F(Userfaultfd, MovesItsDescriptorOutOfTheWay) {
  const int before = pages::descriptor();
  EXPECT_TRUE(pages::move_descriptor());
  EXPECT_NE(pages::descriptor(), before);
  EXPECT_EQ(fcntl(before, F_GETFD), -1);
  EXPECT_TRUE(all_are(false, at + kPage, kChunk - kPage));
  EXPECT_TRUE(guards.open(at + kPage, kPage));
  EXPECT_FALSE(pages::guards_lost());
}

TEST_F(Userfaultfd, HasADescriptorWhicheverCallFails) {
  EXPECT_EQ(in_child([&] {
              MUST(guards.map_again(at, kChunk));
              bool sane = true;
              fault::for_each_fault([&] {
                const int before = pages::descriptor();
                sane = sane && pages::move_descriptor() == (pages::descriptor() != before);
                sane = sane && is_open(at) && !is_open(at + kPage);
              });
              MUST(sane && guards.open(at + kPage, kPage));
              return in_child([&] {
                int mended = 0;
                fault::for_each_fault([&] {
                  if (guards.map_again(at, kChunk)) ++mended;
                });
                MUST(mended > 0 && guards.open(at + 2 * kPage, kPage) && !is_open(at + 3 * kPage));
                return 0;
              });
            }),
            0);
}

TEST_F(Userfaultfd, NoticesThatItsDescriptorIsGoneAndMendsItsGuards) {
  for (const std::string other : {"", "a file", "the program's own userfaultfd"})
    EXPECT_EQ(in_child([&] {
                MUST(guards.map_again(at, kChunk));
                const int number = pages::descriptor();
                const bool replaced = !other.empty();
                close(number);
                const int file = other == "a file" ? open("/dev/null", O_RDONLY) : sys::userfaultfd();
                MUST(!replaced || dup2(file, number) == number);
                MUST(!pages::move_descriptor() && !guards.open(at + kPage, kPage) && pages::guards_lost());
                MUST(pages::descriptor() == pages::kNotAsked);
                MUST(!guards.open(at + kPage, kPage) && !guards.map(fresh(kChunk), kChunk));
                MUST(!guards.close(at, kPage));  // it would not fault
                MUST(*at == 42);
                at[3 * kPage] = 1;  // unseen
                MUST(guards.map_again(at, kChunk) && !pages::guards_lost());
                MUST(pages::descriptor() >= 0 && (pages::descriptor() != number) == replaced);
                MUST(!replaced || fcntl(number, F_GETFD) >= 0);
                MUST(*at == 42 && signal_of([&] { at[5 * kPage] = 1; }) == SIGBUS);
                MUST(guards.open(at + 3 * kPage, kPage) && at[3 * kPage] == 0);
                MUST(guards.close(at + 3 * kPage, kPage) && !is_open(at + 3 * kPage));
                return 0;
              }),
              0)
        << other;
}

TEST_F(Userfaultfd, StaysLostAsLongAsThereIsNoDescriptorToBeHad) {
  EXPECT_EQ(in_child([&] {
              MUST(guards.map_again(at, kChunk));
              close(pages::descriptor());
              MUST(!guards.open(at + kPage, kPage) && pages::guards_lost());
              const rlimit none{3, 3};
              MUST(setrlimit(RLIMIT_NOFILE, &none) == 0);
              MUST(!guards.map_again(at, kChunk) && pages::guards_lost() && pages::descriptor() < 0);
              return 0;
            }),
            0);
}

TEST_F(Userfaultfd, HasADescriptorUnderALowLimit) {
  EXPECT_EQ(in_child([&] {
              const rlimit few{24, 24};
              MUST(setrlimit(RLIMIT_NOFILE, &few) == 0);
              MUST(guards.map_again(at, kChunk));
              MUST(pages::descriptor() >= 12 && pages::descriptor() < 24);
              return 0;
            }),
            0);
}

TEST_F(Userfaultfd, InAForkChildIsNeverItsParents) {
  const int number = pages::descriptor();
  EXPECT_EQ(in_child([&] {
              MUST(!guards.open(at + kPage, kPage) && !guards.close(at, kPage) && !guards.map(fresh(kChunk), kChunk));
              MUST(!pages::move_descriptor() && !pages::guards_lost());
              const int file = open("/dev/null", O_RDONLY);
              MUST(dup2(file, number) == number);
              MUST(guards.map_again(at, kChunk));
              MUST(pages::descriptor() != number && fcntl(number, F_GETFD) >= 0);
              return 0;
            }),
            0);
  EXPECT_EQ(*at, 42);
  EXPECT_TRUE(all_are(false, at + kPage, kChunk - kPage));
}

TEST_F(Userfaultfd, IsNotLostWhenAVforkChildClosesItsCopy) {
  const pid_t child = vfork();
  if (child == 0) {
    syscall(SYS_close, pages::descriptor());
    _exit(guards.open(at + kPage, kPage) || pages::move_descriptor());
  }
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(pages::guards_lost());
  EXPECT_TRUE(guards.open(at + kPage, kPage));
}

}  // namespace
}  // namespace poireau::tracked_alloc
