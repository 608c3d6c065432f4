#include "preload/stop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "preload/clock.h"
#include "preload/real.h"
#include "preload/repeat.h"
#include "preload/sampled.h"

namespace poireau {
namespace {

using std::chrono::steady_clock;

const int kRounds = std::getenv("POIREAU_SOAK") != nullptr ? 10'000 : 1'000;

bool prepare() {
  lifecycle::start();
  return stop::prepare();
}

class Stop : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(prepare()); }
};

/// Stands still or not, as often as the machine lets it.
bool stop_once() {
  for (int attempt = 0; attempt < 20; ++attempt)
    if (const stop::Others others; others) return true;
  return false;
}

TEST_F(Stop, TakesTheHighestSignalThatNobodyHas) { EXPECT_EQ(stop::signal_number(), SIGRTMAX); }

TEST_F(Stop, IsGrantedToAThreadThatIsAlone) {
  const stop::Others others;
  EXPECT_TRUE(others);
  EXPECT_EQ(others.count(), 0u);
}

TEST_F(Stop, IsForOneAtATime) {
  const stop::Others others;
  const stop::Others more;
  EXPECT_TRUE(others);
  EXPECT_EQ(more.why(), stop::Others::Why::busy);
}

TEST_F(Stop, HoldsThreadsThatRun) {
  std::atomic<bool> over{false};
  std::atomic<uint64_t> counts[3]{};
  std::vector<std::thread> threads;
  for (auto& count : counts)
    threads.emplace_back([&] {
      while (!over) ++count;
    });
  int held = 0;
  for (int i = 0; i < kRounds / 10; ++i) {
    {
      const stop::Others others;
      if (!others) continue;
      ++held;
      uint64_t before[3];
      for (int k = 0; k < 3; ++k) before[k] = counts[k];
      for (int spin = 0; spin < 1000; ++spin) sched_yield();
      for (int k = 0; k < 3; ++k) EXPECT_EQ(before[k], counts[k]);
    }
    sched_yield();
  }
  EXPECT_GT(held, kRounds / 20);
  over = true;
  for (auto& thread : threads) thread.join();
}

TEST_F(Stop, CopesWithThreadsThatComeAndGo) {
  std::atomic<bool> over{false};
  std::vector<std::thread> makers;
  for (int i = 0; i < 2; ++i)
    makers.emplace_back([&] {
      while (!over) {
        std::thread short_lived([] {});
        short_lived.join();
        std::thread([] {}).detach();
      }
    });
  int held = 0;
  for (int i = 0; i < kRounds / 10; ++i) {
    held += static_cast<bool>(stop::Others());
    usleep(100);
  }
  over = true;
  for (auto& maker : makers) maker.join();
  EXPECT_GT(held, 0);
}

TEST_F(Stop, GivesUpOnAThreadThatDoesNotAnswer) {
  std::atomic<bool> over{false}, blocked{false};
  std::thread deaf([&] {
    const uint64_t all = ~uint64_t{0};
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, nullptr, sizeof all);
    blocked = true;
    while (!over) usleep(1000);
  });
  std::thread other([&] {
    while (!over) usleep(1000);
  });
  while (!blocked) sched_yield();
  const auto began = steady_clock::now();
  {
    const stop::Others others;
    EXPECT_EQ(others.why(), stop::Others::Why::moving);
  }
  EXPECT_LT(steady_clock::now() - began, std::chrono::seconds(2));
  over = true;
  deaf.join();
  other.join();
}

// Calls that wait. Each returns true if it did what it does without us.
int pair_of_sockets[2], silent[2], epoll, semaphores;
sem_t named;
uint32_t word = 0;

bool timed_out(long result, int error = 0) { return error == 0 ? result == 0 : result == -1 && errno == error; }

const timespec kShort{0, 30'000'000};
timespec soon() {
  timespec at;
  clock_gettime(CLOCK_REALTIME, &at);
  at.tv_nsec += kShort.tv_nsec;
  if (at.tv_nsec >= 1'000'000'000) at.tv_nsec -= 1'000'000'000, ++at.tv_sec;
  return at;
}

struct Wait {
  const char* name;
  std::function<bool()> once;
};

const std::vector<Wait> kWaits = {
    {"poll",
     [] {
       pollfd none{silent[0], POLLIN, 0};
       return timed_out(poll(&none, 1, 30));
     }},
    {"ppoll",
     [] {
       pollfd none{silent[0], POLLIN, 0};
       return timed_out(ppoll(&none, 1, &kShort, nullptr));
     }},
    {"select",
     [] {
       timeval most{0, 30'000};
       return timed_out(select(0, nullptr, nullptr, nullptr, &most));
     }},
    {"pselect", [] { return timed_out(pselect(0, nullptr, nullptr, nullptr, &kShort, nullptr)); }},
    {"epoll_wait",
     [] {
       epoll_event event;
       return timed_out(epoll_wait(epoll, &event, 1, 30));
     }},
    {"epoll_pwait",
     [] {
       epoll_event event;
       return timed_out(epoll_pwait(epoll, &event, 1, 30, nullptr));
     }},
    {"epoll_pwait2",
     [] {
       epoll_event event;
       return timed_out(epoll_pwait2(epoll, &event, 1, &kShort, nullptr)) || errno == ENOSYS;
     }},
    {"nanosleep", [] { return timed_out(nanosleep(&kShort, nullptr)); }},
    {"nanosleep with the rest",
     [] {
       timespec rest;
       return timed_out(nanosleep(&kShort, &rest));
     }},
    {"clock_nanosleep", [] { return clock_nanosleep(CLOCK_MONOTONIC, 0, &kShort, nullptr) == 0; }},
    {"clock_nanosleep until",
     [] {
       const timespec at = soon();
       return clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &at, nullptr) == 0;
     }},
    {"sem_timedwait",
     [] {
       const timespec at = soon();
       return timed_out(sem_timedwait(&named, &at), ETIMEDOUT);
     }},
    {"sigtimedwait",
     [] {
       sigset_t set;
       sigemptyset(&set);
       sigaddset(&set, SIGUSR2);
       return timed_out(sigtimedwait(&set, nullptr, &kShort), EAGAIN);
     }},
    {"semtimedop",
     [] {
       sembuf take{0, -1, 0};
       return timed_out(semtimedop(semaphores, &take, 1, &kShort), EAGAIN);
     }},
    {"futex", [] { return timed_out(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &kShort), ETIMEDOUT); }},
    {"recv with SO_RCVTIMEO",
     [] {
       char c;
       return timed_out(recv(pair_of_sockets[0], &c, 1, 0), EAGAIN);
     }},
    {"poll by syscall",
     [] {
       pollfd none{silent[0], POLLIN, 0};
       return timed_out(syscall(SYS_poll, &none, 1, 30));
     }},
};

class Background {
 public:
  explicit Background(const std::function<bool()>& once) {
    for (int i = 0; i < 2; ++i)
      threads_.emplace_back([&] {
        while (!over_) {
          if (!once()) error_ = errno != 0 ? errno : -1;
          ++done_;
        }
      });
  }
  ~Background() { finish(); }
  void finish() {
    over_ = true;
    for (auto& thread : threads_)
      if (thread.joinable()) thread.join();
  }
  int error() const { return error_; }
  int done() const { return done_; }

 private:
  std::atomic<bool> over_{false};
  std::atomic<int> error_{0}, done_{0};
  std::vector<std::thread> threads_;
};

void make_what_they_wait_for() {
  static const bool once = [] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    timeval most{0, 30'000};
    epoll_event event{.events = EPOLLIN, .data = {}};
    sem_init(&named, 0, 0);
    epoll = epoll_create1(0);
    semaphores = semget(IPC_PRIVATE, 1, 0600);
    return pipe(silent) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair_of_sockets) == 0 &&
           epoll_ctl(epoll, EPOLL_CTL_ADD, silent[0], &event) == 0 &&
           setsockopt(pair_of_sockets[0], SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most) == 0;
  }();
  ASSERT_TRUE(once);
}

TEST_F(Stop, NoCallThatWaitsWithATimeoutNoticesIt) {
  make_what_they_wait_for();
  for (const Wait& wait : kWaits) {
    SCOPED_TRACE(wait.name);
    Background background(wait.once);
    int held = 0;
    for (int i = 0; i < kRounds / 20; ++i) {
      held += stop_once();
      usleep(500);
    }
    const auto until = steady_clock::now() + std::chrono::seconds(5);
    while (background.done() < 2 && steady_clock::now() < until) usleep(1000);
    background.finish();
    EXPECT_GT(held, kRounds / 40);
    EXPECT_EQ(background.error(), 0);
    EXPECT_GE(background.done(), 2);
  }
}

/// As runtimes give one to each of their threads.
void have_signal_stack() {
  thread_local bool has = false;
  constexpr size_t kSize = 16 << 10;
  if (std::exchange(has, true)) return;
  void* const memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const stack_t stack{memory, 0, kSize};
  ASSERT_EQ(sigaltstack(&stack, nullptr), 0);
}

class StopWaiting : public Stop, public testing::WithParamInterface<bool> {};

TEST_P(StopWaiting, ATimeLimitPassesHoweverOftenThreadsAreStopped) {
  make_what_they_wait_for();
  for (const Wait& wait : kWaits) {
    if (std::string_view(wait.name).starts_with("recv")) continue;  // its limit is the socket's
    SCOPED_TRACE(wait.name);
    const std::function<bool()> once = [&] {
      if (GetParam()) have_signal_stack();
      return wait.once();
    };
    Background background(once);
    const auto began = steady_clock::now();
    while (background.done() < 2 && steady_clock::now() - began < std::chrono::seconds(2)) {
      stop_once();
      usleep(3'000);
    }
    EXPECT_GE(background.done(), 2);
    EXPECT_EQ(background.error(), 0);
  }
}

TEST_P(StopWaiting, WhoWaitsCanBeCancelled) {
  make_what_they_wait_for();
  static std::atomic<int> unwound;
  unwound = 0;
  for (int i = 0; i < 20; ++i) {
    std::atomic<bool> waiting{false};
    std::thread thread([&] {
      struct Witness {
        ~Witness() { ++unwound; }
      } witness;
      if (GetParam()) have_signal_stack();
      waiting = true;
      pollfd none{silent[0], POLLIN, 0};
      poll(&none, 1, 60'000);
    });
    while (!waiting) sched_yield();
    for (int n = 0; n < i % 4; ++n) {
      usleep(500);
      stop_once();
    }
    pthread_cancel(thread.native_handle());
    thread.join();
    EXPECT_EQ(unwound, i + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(Stacks, StopWaiting, testing::Bool(),
                         [](const auto& info) { return info.param ? "OfSignals" : "Plain"; });

/// Calls that wait until somebody else does something, which `release` is.
struct Call {
  const char* name;
  std::function<long()> wait;
  std::function<void()> release;
};

TEST_F(Stop, NoCallThatWaitsForEverNoticesIt) {
  int pipes[2], sockets[2];
  ASSERT_EQ(pipe(pipes), 0);
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
  const int polled = epoll_create1(0);
  epoll_event event{.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(polled, EPOLL_CTL_ADD, pipes[0], &event), 0);
  const int queue = msgget(IPC_PRIVATE, 0600), set = semget(IPC_PRIVATE, 1, 0600);
  const int watch = inotify_init();
  char directory[] = "/tmp/poireau-stop-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  ASSERT_GE(inotify_add_watch(watch, directory, IN_OPEN), 0);
  char c;
  struct Message {
    long type = 1;
    char text[8];
  } message;
  static std::atomic<int> waiter;
  const auto put = [&] { EXPECT_EQ(write(pipes[1], "x", 1), 1); };
  const auto get = [&](long result) { return result == 1 && read(pipes[0], &c, 1) == 1 ? 0 : -1; };
  static std::atomic<bool> handled{false};
  struct sigaction action {};
  action.sa_handler = [](int) { handled = true; };
  sigaction(SIGUSR1, &action, nullptr);  // without SA_RESTART
  const auto hit = [&] { EXPECT_EQ(syscall(SYS_tgkill, getpid(), waiter.load(), SIGUSR1), 0); };
  const auto interrupted = [&](long result) {
    return result == -1 && errno == EINTR && handled.exchange(false) ? 0 : -1;
  };
  const std::vector<Call> calls = {
      {"poll",
       [&] {
         pollfd one{pipes[0], POLLIN, 0};
         return get(poll(&one, 1, -1));
       },
       put},
      {"epoll_wait", [&] { return get(epoll_wait(polled, &event, 1, -1)); }, put},
      {"read", [&] { return read(pipes[0], &c, 1) == 1 ? 0 : -1; }, put},
      {"select",
       [&] {
         fd_set files;
         FD_ZERO(&files);
         FD_SET(pipes[0], &files);
         return get(select(pipes[0] + 1, &files, nullptr, nullptr, nullptr));
       },
       put},
      {"recv", [&] { return recv(sockets[0], &c, 1, 0) == 1 ? 0 : -1; },
       [&] { EXPECT_EQ(write(sockets[1], "x", 1), 1); }},
      {"msgrcv", [&] { return msgrcv(queue, &message, sizeof message.text, 0, 0) >= 0 ? 0 : -1; },
       [&] { EXPECT_EQ(msgsnd(queue, &message, 1, 0), 0); }},
      {"semop",
       [&] {
         sembuf take{0, -1, 0};
         return semop(set, &take, 1);
       },
       [&] {
         sembuf give{0, 1, 0};
         EXPECT_EQ(semop(set, &give, 1), 0);
       }},
      {"read of inotify",
       [&] {
         char events[512];
         return read(watch, events, sizeof events) > 0 ? 0 : -1;
       },
       [&] { close(open(directory, O_RDONLY)); }},
      {"pause, ended by a handler", [&] { return interrupted(pause()); }, hit},
      {"sigsuspend, ended by a handler",
       [&] {
         sigset_t none, its;
         sigemptyset(&none);
         sigemptyset(&its);
         sigaddset(&its, SIGUSR1);
         pthread_sigmask(SIG_BLOCK, &its, nullptr);
         int result;
         do result = sigsuspend(&none);
         while (!handled);  // it may come back once too often, never too seldom
         return interrupted(result);
       },
       hit},
      {"read, ended by a handler", [&] { return interrupted(read(pipes[0], &c, 1)); }, hit},
      {"poll, ended by a handler",
       [&] {
         pollfd one{pipes[0], POLLIN, 0};
         return interrupted(poll(&one, 1, -1));
       },
       hit},
  };
  for (const Call& call : calls) {
    SCOPED_TRACE(call.name);
    std::atomic<long> result{1};
    std::thread thread([&] {
      waiter = static_cast<int>(syscall(SYS_gettid));
      result = call.wait() == 0 ? 0 : errno != 0 ? -errno : -1;
    });
    for (int i = 0; i < kRounds / 20; ++i) {
      stop_once();
      if (i % 8 == 0) usleep(200);
    }
    EXPECT_EQ(result, 1) << "it came back by itself";
    usleep(20'000);
    call.release();
    thread.join();
    EXPECT_EQ(result, 0);
  }
  rmdir(directory);
  msgctl(queue, IPC_RMID, nullptr);
  semctl(set, 0, IPC_RMID);
}

TEST_F(Stop, AHandlerThatRunsMeanwhileEndsTheCallAllTheSame) {
  static std::atomic<int> handled;
  handled = 0;
  struct sigaction action {};
  action.sa_handler = [](int) { ++handled; };
  sigaction(SIGUSR1, &action, nullptr);
  int pipes[2];
  ASSERT_EQ(pipe(pipes), 0);
  std::atomic<int> id{0}, wrong{0}, ended{0};
  std::atomic<bool> over{false};
  std::thread reader([&] {
    id = static_cast<int>(syscall(SYS_gettid));
    char c;
    while (!over) {
      const ssize_t got = ended % 2 == 0 ? read(pipes[0], &c, 1) : pause();
      wrong += !(got == -1 && errno == EINTR);
      ++ended;
    }
  });
  while (id == 0) sched_yield();
  for (int i = 0; i < kRounds / 20; ++i) {
    usleep(500);  // it waits
    const int before = ended;
    {
      const stop::Others others;
      syscall(SYS_tgkill, getpid(), id.load(), SIGUSR1);
      usleep(50);
    }
    for (int patience = 0; ended == before && patience < 2000; ++patience) usleep(1000);
    ASSERT_GT(ended, before) << i;
  }
  over = true;
  syscall(SYS_tgkill, getpid(), id.load(), SIGUSR1);
  reader.join();
  EXPECT_EQ(wrong, 0);
}

TEST_F(Stop, AForeignSignalOfTheSameNumberIsTheProgramsOwn) {
  const int number = stop::signal_number();
  static std::atomic<int> handled;
  handled = 0;
  struct sigaction action {
  }, before, again;
  action.sa_handler = [](int) { ++handled; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  sigaddset(&action.sa_mask, SIGUSR1);
  ASSERT_EQ(stop::change(&action, &before), 0);
  EXPECT_EQ(before.sa_handler, SIG_DFL);
  raise(number);
  EXPECT_EQ(handled, 1);
  ASSERT_EQ(stop::change(nullptr, &again), 0);
  EXPECT_EQ(again.sa_handler, SIG_DFL) << "it was to run once";
  const pid_t child = fork();
  if (child == 0) {
    raise(number);
    _exit(0);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == number) << status;
  EXPECT_EQ(stop::change(&before, nullptr), 0);
}

TEST_F(Stop, WhateverTheProgramSendsItselfArrives) {
  static std::atomic<int> handled;
  handled = 0;
  struct sigaction action {
  }, before;
  action.sa_handler = [](int) { ++handled; };
  ASSERT_EQ(stop::change(&action, &before), 0);
  for (uint64_t i = 0; i < 8; ++i) {
    const union sigval value = {.sival_ptr = reinterpret_cast<void*>(i << 30)};
    ASSERT_EQ(sigqueue(getpid(), stop::signal_number(), value), 0);
  }
  EXPECT_EQ(handled, 8);
  EXPECT_EQ(stop::change(&before, nullptr), 0);
}

TEST_F(Stop, WhatAHandlerHasEndedDoesNotWaitAgain) {
  alignas(16) unsigned char code[64]{};
  unsigned char* const call = code + 48;
  const auto goes_on_at = [&](int number, uint64_t mask) {
    std::copy_n(std::initializer_list<unsigned char>{0xb8, 0, 0, 0, 0, 0x0f, 0x05}.begin(), 7, call - 5);
    std::memcpy(call - 4, &number, sizeof number);
    ucontext_t context{};
    context.uc_stack.ss_flags = SS_DISABLE;
    auto& registers = context.uc_mcontext.gregs;
    registers[REG_RIP] = static_cast<greg_t>(reinterpret_cast<uintptr_t>(call + 2));
    registers[REG_RAX] = -EINTR;
    registers[REG_R10] = static_cast<greg_t>(mask);
    repeat::go_on(&context, {});
    return reinterpret_cast<unsigned char*>(registers[REG_RIP]) - call;
  };
  EXPECT_EQ(goes_on_at(SYS_flock, 0), 0);
  EXPECT_EQ(goes_on_at(SYS_ppoll, 0), 0);
  EXPECT_EQ(goes_on_at(SYS_ppoll, 1), 2) << "its handler may just have run";
  EXPECT_EQ(goes_on_at(SYS_pause, 0), 0) << "who makes it without a mask can't count on it";
  EXPECT_EQ(goes_on_at(SYS_rt_sigsuspend, 0), 2);
}

TEST_F(Stop, GoesOnInAForkChild) {
  std::atomic<bool> over{false};
  std::thread other([&] {
    while (!over) usleep(1000);
  });
  for (int i = 0; i < kRounds / 50; ++i) {
    const stop::Others held;
    const pid_t child = fork();
    if (child == 0) {
      stop::forked();
      const stop::Others others;
      _exit(others ? 0 : 1);
    }
    int status;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  over = true;
  other.join();
}

TEST_F(Stop, IsNotForAVforkChild) {
  int status;
  const pid_t child = vfork();
  if (child == 0) {
    const stop::Others others;
    _exit(others.why() == stop::Others::Why::busy ? 0 : 1);
  }
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(Stop, TakesLittleTimeWithManyThreads) {
  std::atomic<bool> over{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 50; ++i)
    threads.emplace_back([&] {
      while (!over) usleep(10'000);
    });
  usleep(20'000);
  std::vector<double> took;
  for (int i = 0; i < 50; ++i) {
    const auto began = steady_clock::now();
    const stop::Others others;
    if (others) took.push_back(std::chrono::duration<double, std::milli>(steady_clock::now() - began).count());
  }
  over = true;
  for (auto& thread : threads) thread.join();
  ASSERT_GT(took.size(), 25u);
  std::sort(took.begin(), took.end());
  RecordProperty("exercised stops of 50 threads, ms", std::to_string(took[took.size() / 2]));
  printf("median %.2f ms, most %.2f ms\n", took[took.size() / 2], took.back());
}

}  // namespace
}  // namespace poireau
