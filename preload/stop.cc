#include "preload/stop.h"

#include <sys/auxv.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/clock.h"
#include "preload/disposition.h"
#include "preload/real.h"
#include "preload/repeat.h"
#include "preload/sandbox.h"

namespace poireau::stop {
namespace {

constexpr uint64_t kMillisecond = 1'000'000;
constexpr uint64_t kPatience = 50 * kMillisecond;
constexpr size_t kMostThreads = 4096;

/// Odd while they are to stand; who stands waits for another number.
constinit std::atomic<uint32_t> stage{0};
constinit std::atomic<uint32_t> arrivals{0};
constinit std::atomic<bool> taken{false};
constinit std::atomic<int> number{0}, stopper{0}, owner{0};
constinit Shadow shadow;
constinit std::atomic<bool> on_signal_stacks{true};
constinit std::atomic<uint64_t> go_on_at{0};  // in ticks; 0: when they are told to
constinit std::atomic<bool> gone_on{false};

struct Seat {
  std::atomic<uint32_t> stood;  // the last stage in which its thread stood
  int thread;
  repeat::Call call;
};
[[gnu::section(".lbss")]] constinit Seat seats[kMostThreads];
constinit unsigned seated = 0;
[[gnu::section(".lbss")]] constinit char listing[8192];

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

/// Whether the thread is one of the process that all of this is about, and not a vfork child in its memory.
bool at_home() noexcept { return sys::process_id() == owner.load(std::memory_order_relaxed); }

bool stands(const Seat& seat, uint32_t now) noexcept { return seat.stood.load(std::memory_order_acquire) == now; }

/// A signal that comes too late leaves no trace in the seat that another has by then.
void stand_up(Seat& seat, uint32_t now) noexcept {
  uint32_t before = seat.stood.load(std::memory_order_relaxed);
  while (static_cast<int32_t>(now - before) > 0 && !seat.stood.compare_exchange_weak(before, now))
    ;
}

[[gnu::noinline]] void stand(Seat& seat, uint32_t now) noexcept {
  stand_up(seat, now);
  arrivals.fetch_add(1);
  sys::wake_all(arrivals);
  while (stage.load(std::memory_order_acquire) == now) {
    if (sys::wait_while(stage, now, 10 * kMillisecond)) continue;
    const uint64_t end = go_on_at.load(std::memory_order_relaxed);
    if ((end != 0 && clock::ticks() > end) || !sys::thread_exists(stopper.load(std::memory_order_relaxed))) {
      gone_on = true;
      return;
    }
  }
}

/// Whether this signal is one of ours.
bool is_ours(const siginfo_t& info) noexcept {
  return info.si_code == sys::kSignalToThread && info.si_pid == owner.load(std::memory_order_relaxed);
}

[[gnu::noinline]] void stand_if_asked(const siginfo_t& info, ucontext_t* context) noexcept {
  const auto ticket = reinterpret_cast<uintptr_t>(info.si_value.sival_ptr);
  const auto now = static_cast<uint32_t>(ticket >> 32);
  Seat& seat = seats[static_cast<uint32_t>(ticket) % kMostThreads];
  repeat::Call call;
  if (stage.load(std::memory_order_acquire) == now) {
    call = seat.call;
    stand(seat, now);
  }
  repeat::go_on(context, call);
}

/// A signal of the program's own, for what it has set: as if it had come without us.
[[gnu::noinline]] void pass_on(int signal, siginfo_t* info, ucontext_t* context) noexcept {
  const Disposition behind = shadow.take();
  if (behind.is(SIG_IGN)) return;
  if (!behind.known() || !behind.calls()) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    if (real.sigaction(signal, &action, nullptr) == 0) static_cast<void>(sys::send_again(signal, info));
    return;  // and the signal ends the process
  }
  const uint64_t itself = (behind.flags() & Disposition::kNested) != 0 ? 0 : sys::signal_bit(signal);
  sys::set_blocked_signals(context->uc_sigmask.__val[0] | behind.mask | itself);
  behind.handler()(signal, info, context);
}

void on_signal(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (is_ours(*info))
    stand_if_asked(*info, static_cast<ucontext_t*>(context));
  else
    pass_on(signal, info, static_cast<ucontext_t*>(context));
  errno = error;
}

/// Our handler, so that `behind` can be called from it. Without SA_RESTART calls end as the program wants them to, and
/// those that ours ends are repeated.
struct sigaction in_front_of(const Disposition& behind) noexcept {
  struct sigaction action {};
  action.sa_sigaction = on_signal;
  action.sa_mask.__val[0] = ~uint64_t{0};
  const int wanted = behind.known() && behind.calls() ? behind.flags() : SA_ONSTACK | SA_RESTART;
  action.sa_flags = (wanted | SA_SIGINFO) & ~(Disposition::kNested | Disposition::kOnce);
  if (!on_signal_stacks.load(std::memory_order_relaxed)) action.sa_flags &= ~SA_ONSTACK;
  return action;
}

bool knows(int thread) noexcept {
  return std::any_of(seats, seats + seated, [&](const Seat& seat) { return seat.thread == thread; });
}

/// A thread that has ended though it is listed still, as the first one may.
bool has_ended(int directory, int thread) noexcept {
  if (!sys::thread_exists(thread)) return true;
  char name[32], text[128];
  std::memcpy(write_number(name, static_cast<uint64_t>(thread)), "/stat", 6);
  const int file = sys::open_to_read_in(directory, name);
  if (file < 0) return file == -ENOENT || file == -ESRCH;
  const int64_t size = sys::read(file, text);
  sys::close(file);
  const std::string_view stat(text, static_cast<size_t>(std::max<int64_t>(size, 0)));
  const size_t name_ends = stat.rfind(')');
  return size == -ESRCH || (name_ends + 2 < stat.size() && (stat[name_ends + 2] == 'Z' || stat[name_ends + 2] == 'X'));
}

enum class Step { done, again, failed };

Step call_in(int directory, int thread, uint32_t now) noexcept {
  if (seated == kMostThreads) return Step::failed;
  Seat& seat = seats[seated];
  seat.thread = thread;
  seat.call = repeat::call_of(directory, thread);
  const int error = sys::send_signal(thread, number.load(std::memory_order_relaxed), uint64_t{now} << 32 | seated);
  if (error == ESRCH) return Step::done;
  if (error != 0) return Step::failed;
  ++seated;
  return Step::again;
}

/// Calls in all that are not seated. again: there were some.
Step call_in_all(uint32_t now) noexcept {
  const int directory = sys::open_directory(sys::kAnywhere, "/proc/self/task");
  if (directory < 0) return Step::failed;
  const int self = sys::thread_id();
  Step step = Step::done;
  uint64_t listed = 0;
  int64_t size;
  while (step != Step::failed && (size = sys::list(directory, listing)) > 0) {
    for (int64_t at = 0; at < size && step != Step::failed;) {
      uint16_t length;
      std::memcpy(&length, listing + at + 16, sizeof length);  // of a linux_dirent64, whose name is at 19
      uint64_t thread;
      if (read_number(listing + at + 19, 10, INT32_MAX, thread)) {
        ++listed;
        if (static_cast<int>(thread) != self && !knows(static_cast<int>(thread))) {
          const Step called = call_in(directory, static_cast<int>(thread), now);
          if (called != Step::done) step = called;
        }
      }
      at += length;
    }
  }
  if (size < 0) step = Step::failed;
  // Should one end meanwhile, others may be missing in the list.
  sys::EntryInfo info;
  if (step == Step::done && (sys::entry_info(directory, "", info) != 0 || info.names != listed + 2)) step = Step::again;
  sys::close(directory);
  return step;
}

bool wait_for_all(uint32_t now, uint64_t deadline) noexcept {
  for (;;) {
    const uint32_t seen = arrivals.load(std::memory_order_acquire);
    Seat* const late = std::find_if(seats, seats + seated, [&](const Seat& seat) { return !stands(seat, now); });
    if (late == seats + seated) return true;
    if (sys::wait_while(arrivals, seen, 2 * kMillisecond)) continue;
    const int directory = sys::open_directory(sys::kAnywhere, "/proc/self/task");
    if (directory < 0) return false;
    if (has_ended(directory, late->thread)) stand_up(*late, now);
    sys::close(directory);
    if (clock::ticks() > deadline) return false;
  }
}

/// Whether nobody else is there who could be in the way.
bool alone() noexcept {
  sys::EntryInfo info;
  return sys::entry_info(sys::kAnywhere, "/proc/self/task", info) == 0 && info.names == 3;
}

bool stop_all(uint64_t deadline) noexcept {
  stopper = sys::thread_id();
  gone_on = false;
  const uint32_t now = stage.fetch_add(1) + 1;
  for (;;) {
    const unsigned before = seated;
    const Step step = call_in_all(now);
    if (step == Step::done) return true;
    if (step == Step::failed || !wait_for_all(now, deadline) || clock::ticks() > deadline) return false;
    if (seated == before) sys::yield();  // one is about to end
  }
}

void let_go() noexcept {
  if ((stage.load(std::memory_order_relaxed) & 1) == 0) return;
  stage.fetch_add(1);
  sys::wake_all(stage);
}

uint64_t in_ticks(uint64_t nanoseconds) noexcept {
  return nanoseconds / 1000 * (clock::ticks_per_second() / 1000) / 1000;
}

}  // namespace

bool prepare() noexcept {
  if (!may_ask() || number != 0) return number != 0;
  owner = sys::process_id();
  const struct sigaction ours = in_front_of({});
  for (int signal = SIGRTMAX; signal >= SIGRTMIN; --signal) {
    struct sigaction before;
    if (real.sigaction(signal, nullptr, &before) != 0 || before.sa_handler != SIG_DFL) continue;
    shadow.exchange(Disposition::of(before));
    if (real.sigaction(signal, &ours, nullptr) != 0) return false;
    number = signal;
    sys::unblock_signals(sys::signal_bit(signal));
    return true;
  }
  return false;
}

int signal_number() noexcept { return number.load(std::memory_order_relaxed); }

int change(const struct sigaction* action, struct sigaction* old) noexcept {
  const int signal = signal_number();
  struct sigaction before;
  if (action == nullptr || (may_ask() && !at_home())) {  // a vfork child's are its own
    if (real.sigaction(signal, action, &before) != 0) return -1;
    if (before.sa_sigaction == on_signal) shadow.get().show(before);
  } else {
    const Disposition wanted = Disposition::of(*action), was = shadow.exchange(wanted);
    struct sigaction* first = &before;
    for (Disposition now = wanted, behind{}; now != behind; now = shadow.get(), first = nullptr) {
      const struct sigaction ours = in_front_of(behind = now);
      if (real.sigaction(signal, &ours, first) != 0) {
        shadow.replace(wanted, was);
        return -1;
      }
    }
    was.show(before);
  }
  if (old != nullptr) *old = before;
  return 0;
}

void meet_signal_stack(size_t size) noexcept {
  constexpr size_t kOurs = 2048;
  const size_t frame = std::max<size_t>(getauxval(AT_MINSIGSTKSZ), 2048);  // the kernel's, with all registers
  if (signal_number() == 0 || size >= frame + kOurs || !may_ask() || !at_home()) return;
  if (!on_signal_stacks.exchange(false)) return;
  const int error = errno;
  for (Disposition now = shadow.get(), behind{};; now = shadow.get()) {
    const struct sigaction ours = in_front_of(behind = now);
    static_cast<void>(real.sigaction(signal_number(), &ours, nullptr));
    if (behind == shadow.get()) break;
  }
  errno = error;
}

void forked() noexcept {
  if (owner.load(std::memory_order_relaxed) == 0 || !may_ask()) return;
  owner = sys::process_id();
  stage.fetch_and(~1u);
  seated = 0;
  taken = false;
}

Others::Others() noexcept {
  if (!may_ask()) {
    why_ = Why::forbidden;
    return;
  }
  if (!at_home() || taken) return;
  // First, for a handler might jump out of here, and what it took would stay taken.
  if (!sys::block_every_signal(blocked_)) {
    why_ = Why::forbidden;
    return;
  }
  if (taken.exchange(true)) {
    sys::set_blocked_signals(blocked_);
    return;
  }
  ours_ = true;
  seated = 0;
  go_on_at = 0;
  if (alone()) {
    why_ = Why::all_stand;
  } else if (number == 0) {
    why_ = Why::forbidden;
  } else {
    why_ = stop_all(clock::ticks() + in_ticks(kPatience)) ? Why::all_stand : Why::moving;
    if (why_ == Why::moving) let_go();
  }
}

Others::~Others() {
  if (!ours_) return;
  let_go();
  taken = false;
  sys::set_blocked_signals(blocked_);
}

void Others::go_on_after(uint64_t nanoseconds) noexcept {
  go_on_at = nanoseconds == 0 ? 0 : clock::ticks() + in_ticks(nanoseconds);
}

bool Others::held() const noexcept { return *this && !gone_on.load(std::memory_order_relaxed); }
unsigned Others::count() const noexcept { return seated; }

}  // namespace poireau::stop
