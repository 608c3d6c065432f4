#include "poireau/native/scan_threads.h"

#include <dirent.h>
#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>
#include <utility>

namespace poireau::scan {
namespace {

// Nanoseconds that a thread may take to stop, while others stand and while they don't: it may be waiting for a disk.
constexpr uint64_t kPatience = 5'000'000, kMorePatience = 200'000'000;
constexpr uint64_t kMostPatience = 2'000'000'000;    // with all of them
constexpr size_t kAtOnce = 64, kMostTogether = 128;  // threads
constexpr size_t kMostRegisters = 16 << 10;
constexpr int kSets[] = {NT_PRSTATUS, NT_X86_XSTATE};

std::vector<int> threads_of(int pid) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/task", pid);
  std::vector<int> found;
  DIR* const directory = opendir(name);
  if (directory == nullptr) return found;
  while (const dirent* entry = readdir(directory))
    if (const int tid = atoi(entry->d_name); tid > 0) found.push_back(tid);
  closedir(directory);
  return found;
}

void pause() {
  const timespec moment{0, 10'000};
  nanosleep(&moment, nullptr);
}

class Stop {
 public:
  explicit Stop(int tid) : tid_(tid), begun_(now()) {
    if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) {
      error_ = errno;
      return;
    }
    seized_ = true;
    if (ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) error_ = errno;
  }
  ~Stop() { go_on(); }
  Stop(Stop&& other) noexcept { *this = std::move(other); }
  Stop& operator=(Stop&& other) noexcept {  // what it was is over
    tid_ = other.tid_;
    error_ = other.error_;
    signal_ = other.signal_;
    seized_ = std::exchange(other.seized_, false);
    stopped_ = other.stopped_;
    done_ = other.done_;
    begun_ = other.begun_;
    since_ = other.since_;
    return *this;
  }

  [[nodiscard]] uint64_t age() const { return now() - begun_; }
  [[nodiscard]] bool done() const { return done_; }
  void be_done() { done_ = true; }

  /// An errno; 0: it has stopped.
  int wait(uint64_t patience) {
    for (const uint64_t until = now() + patience; error_ == 0 && !stopped_;) {
      int status = 0;
      const uint64_t asked = now();
      const pid_t got = waitpid(tid_, &status, __WALL | WNOHANG);
      if (got < 0 && errno != EINTR) error_ = errno;
      if (got == tid_ && WIFSTOPPED(status)) {
        stopped_ = true;
        since_ = since_ == 0 ? asked : since_;
        // A signal was about to reach it, and will.
        if (status >> 16 == 0) signal_ = WSTOPSIG(status);
      } else if (got == tid_) {
        error_ = ESRCH;
      } else if (got == 0) {
        since_ = asked;
        if (asked >= until) return ETIMEDOUT;
        pause();
      }
    }
    return error_;
  }

  void meet(PoireauScanThread& thread, const Met& met, uint64_t patience) {
    thread.tid = static_cast<uint32_t>(tid_);
    thread.error = static_cast<uint32_t>(wait(patience));
    alignas(64) char room[std::size(kSets)][kMostRegisters];
    Registers registers[std::size(kSets)];
    for (uint32_t i = 0; thread.error == 0 && i < std::size(kSets); ++i) {
      iovec there{room[i], sizeof room[i]};
      const bool had = ptrace(PTRACE_GETREGSET, tid_, reinterpret_cast<void*>(intptr_t{kSets[i]}), &there) == 0;
      if (!had && i == 0) thread.error = static_cast<uint32_t>(errno);
      registers[i] = {{room[i], had ? there.iov_len : 0}, i};
    }
    if (thread.error == 0) {
      const auto* general = reinterpret_cast<const user_regs_struct*>(room[0]);
      thread.sp = general->rsp;
      thread.fs = general->fs_base;
      met(thread, registers);
    } else {
      met(thread, {});
    }
  }

  /// Nanoseconds that it has been stopped, at most.
  uint64_t go_on() {
    if (seized_ && stopped_) ptrace(PTRACE_DETACH, tid_, nullptr, reinterpret_cast<void*>(intptr_t{signal_}));
    seized_ = seized_ && !stopped_;  // the kernel detaches from what didn't stop when this thread of ours ends
    return stopped_ ? now() - since_ : 0;
  }

 private:
  int tid_ = 0, error_ = 0, signal_ = 0;
  bool seized_ = false, stopped_ = false, done_ = false;
  uint64_t begun_ = 0;
  uint64_t since_ = 0;  // when it was last seen to run
};

/// Who traces is a thread: whatever happens, what it traces goes on when it ends.
template <typename Body>
void in_a_thread(const Body& body) {
  std::thread(body).join();
}

}  // namespace

uint64_t now() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t visit_each(int pid, std::vector<PoireauScanThread>& threads, const Met& met) {
  uint64_t longest = 0;
  in_a_thread([&] {
    const std::vector<int> all = threads_of(pid);
    const uint64_t end = now() + kMostPatience;
    // Who has no processor stops when it gets one: several are waited for at once, and none for another.
    std::vector<Stop> waiting;
    for (size_t next = 0; next < all.size() || !waiting.empty();) {
      while (next < all.size() && waiting.size() < kAtOnce) waiting.emplace_back(all[next++]);
      const size_t before = waiting.size();
      for (Stop& stop : waiting) {
        if (stop.wait(0) == ETIMEDOUT && stop.age() < kMorePatience && now() < end) continue;
        PoireauScanThread& thread = threads.emplace_back();
        stop.meet(thread, met, 0);
        longest = std::max(longest, thread.stopped = stop.go_on());
        stop.be_done();
      }
      std::erase_if(waiting, [](const Stop& stop) { return stop.done(); });
      if (waiting.size() == before) pause();
    }
  });
  return longest;
}

uint64_t visit_stopped(int pid, uint64_t budget, std::vector<PoireauScanThread>& threads, const Met& met,
                       const std::function<void(uint64_t left)>& then) {
  if (threads_of(pid).size() > kMostTogether) return visit_each(pid, threads, met);
  uint64_t stopped = 0;
  in_a_thread([&] {
    std::vector<Stop> stops;
    std::vector<int> known;
    const uint64_t begun = now(), until = begun + budget;
    bool grows = true;
    while (grows && now() < until) {  // who is stopped starts no more of them
      grows = false;
      for (const int tid : threads_of(pid)) {
        if (std::ranges::find(known, tid) != known.end() || now() >= until) continue;
        known.push_back(tid);
        stops.emplace_back(tid);
        grows = true;
      }
      for (Stop& stop : stops) static_cast<void>(stop.wait(kPatience));
    }
    threads.reserve(stops.size());
    for (Stop& stop : stops) stop.meet(threads.emplace_back(), met, 0);
    if (const uint64_t at = now(); at < until) then(until - at);
    for (Stop& stop : stops) stop.go_on();
    stopped = now() - begun;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (threads[i].error != ETIMEDOUT) continue;
      stops[i].meet(threads[i], met, kMorePatience);
      stops[i].go_on();
    }
  });
  return stopped;
}

}  // namespace poireau::scan
