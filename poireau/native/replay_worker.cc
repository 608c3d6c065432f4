#include "poireau/native/replay_worker.h"

#include <algorithm>

#include "poireau/native/replay_cursor.h"
#include "poireau/native/replay_perform.h"
#include "poireau/native/replay_sleep.h"

namespace poireau::replay {
namespace {

constexpr unsigned kSpins = 2000;
constexpr unsigned kMostSleeps = 10;  // of all threads at once, in which nothing happens
constexpr size_t kBuckets = 256;

constinit std::atomic<uint32_t> sleepers[kBuckets]{};  // by slot

class Worker {
 public:
  explicit Worker(Desk& desk) noexcept : desk_(desk), tally_(desk.tally) {}

  void make(Cursor& from) noexcept {
    const Call& call = from.call;
    const uint32_t thread = from.thread;
    if (call.function == kStart) {
      if (the.wishes.threads == 0) start(static_cast<uint32_t>(call.slot));
      return;
    }
    if (the.wishes.pace != 0) keep_pace(call.time);
    if (!the.alone) {
      desk_.at.store(call.number, std::memory_order_relaxed);
      if (call.number > horizon_) [[unlikely]]
        let_others_come(call.number);
    }
    Slot& slot = the.slots[call.slot];
    const uint32_t before = take(slot, call, thread);
    perform(slot, call, tally_);
    ++from.made;
    const uint64_t done = owned_by(thread) | (before + 1);
    if (the.alone) return slot.state.store(done, std::memory_order_relaxed);
    slot.state.store(done, std::memory_order_seq_cst);
    if (sleepers[call.slot % kBuckets].load(std::memory_order_seq_cst) != 0) wake_all(&slot.state);
  }

  /// Until it is this call's turn.
  uint32_t take(Slot& slot, const Call& call, uint32_t thread) noexcept {
    uint64_t now = slot.state.load(std::memory_order_acquire);
    const uint64_t mine = owned_by(thread);
    if (!call.crossing) {
      if (now >> 32 == mine >> 32) return static_cast<uint32_t>(now);
      if (now != 0 || !slot.state.compare_exchange_strong(now, mine | kBusy)) fail("the file of calls is damaged");
      return 0;
    }
    const auto before = static_cast<uint32_t>(call.before);
    if (static_cast<uint32_t>(now) != before || (now & kBusy) != 0) now = wait(slot, call, before);
    if (!slot.state.compare_exchange_strong(now, mine | kBusy | before)) fail("the file of calls is damaged");
    return before;
  }

  uint64_t wait(Slot& slot, const Call& call, uint32_t before) noexcept {
    const uint64_t since = ticks_before();
    const auto is_time = [&](uint64_t& now) {
      now = slot.state.load(std::memory_order_seq_cst);
      if (static_cast<uint32_t>(now) > before || the.alone) fail("the file of calls is damaged");
      return static_cast<uint32_t>(now) == before && (now & kBusy) == 0;
    };
    uint64_t now = 0;
    bool come = is_time(now);
    for (unsigned i = 0; i < kSpins && !come; ++i) {
      _mm_pause();
      come = is_time(now);
    }
    if (!come) {
      std::atomic<uint32_t>& bucket = sleepers[call.slot % kBuckets];
      bucket.fetch_add(1);
      the.waiting.fetch_add(1);
      unsigned idle = 0;
      for (uint32_t then = the.progress.load(); !is_time(now);) {
        const int64_t from = usage().nanoseconds;
        sleep_while(&slot.state, static_cast<uint32_t>(now), kLongSleep);
        const bool slept = usage().nanoseconds - from >= kLongSleep;
        const bool nobody_moves =
            slept && the.waiting.load() == the.running.load() && the.asked.load() == the.started.load();
        idle = nobody_moves && the.progress.load() == then ? idle + 1 : 0;
        then = the.progress.load();
        if (idle == kMostSleeps) fail("the file of calls is damaged: its threads wait for each other");
      }
      the.waiting.fetch_sub(1);
      bucket.fetch_sub(1);
      the.progress.fetch_add(1);
    }
    ++tally_.waits;
    tally_.waited += ticks_after() - since;
    return now;
  }

  /// Until nobody is too far behind. Without, those who hand blocks on would run away from those who take them, and
  /// more would be alive than ever was.
  void let_others_come(uint64_t number) noexcept {
    for (unsigned tries = 0;; ++tries) {
      uint64_t last = kIdle;
      for (Desk* each = the.desks.load(); each != nullptr; each = each->next)
        last = std::min(last, each->at.load(std::memory_order_relaxed));
      horizon_ = last + std::min(the.wishes.ahead, kIdle - last);
      if (number <= horizon_) return;
      tally_.holds += tries == 0;
      if (tries < kSpins / 10) {
        for (int i = 0; i < 10; ++i) _mm_pause();
      } else {
        the.waiting.fetch_add(1);
        const timespec moment{0, 20'000};
        nanosleep(&moment, nullptr);
        the.waiting.fetch_sub(1);
      }
    }
  }

  static void keep_pace(int64_t time) noexcept {
    const double nanoseconds = static_cast<double>(time - the.calls->trailer().begin) / the.wishes.pace;
    for (;;) {
      const double left = nanoseconds - static_cast<double>(ticks_before() - the.first_tick) / the.ticks_per_nanosecond;
      constexpr double kWorthSleeping = 60'000;
      if (left <= 0) return;
      if (left < kWorthSleeping) {
        _mm_pause();
        continue;
      }
      const auto rest = static_cast<int64_t>(left - kWorthSleeping);
      const timespec sleep{rest / 1'000'000'000, rest % 1'000'000'000};
      nanosleep(&sleep, nullptr);
    }
  }

 private:
  Desk& desk_;
  Tally& tally_;
  uint64_t horizon_ = 0;  // the number of the last call that may be made without looking at the others
};

}  // namespace

void work(Desk& desk, uint32_t first, uint32_t step) noexcept {
  Worker worker(desk);
  Cursors cursors(first, step);
  while (Cursor* const cursor = cursors.earliest()) {
    do {
      worker.make(*cursor);
      if (!cursor->advance()) {
        cursors.close();
        break;
      }
    } while (cursors.only_one());
  }
}

}  // namespace poireau::replay
