#include "preload/sampled.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "config/options.h"
#include "preload/auto_period.h"
#include "preload/bootstrap.h"
#include "preload/callers.h"
#include "preload/clock.h"
#include "preload/control.h"
#include "preload/fork_copy.h"
#include "preload/governor.h"
#include "preload/journal.h"
#include "preload/process.h"
#include "preload/protect.h"
#include "preload/sink.h"
#include "preload/stats.h"
#include "preload/thread.h"
#include "preload/trace_place.h"
#include "tracked_alloc/homes.h"

namespace poireau {

constinit Stats stats{};

[[gnu::noinline]] uint64_t Metered::count(std::atomic<uint64_t>& what, uint64_t since) noexcept {
  const uint64_t now = clock::ticks(), passed = now - since;
  what.fetch_add(std::min(passed, kLongest), std::memory_order_relaxed);
  if (passed > kLongest) [[unlikely]]
    stats.overlong.fetch_add(passed - kLongest, std::memory_order_relaxed);
  return now;
}

namespace sampled {
namespace {

constinit std::atomic<bool> ready{false}, asleep{false};
constinit std::atomic<uint64_t> next_turn{0};  // in ticks

static_assert(sizeof(Sampler) + sizeof asking <= 64, "static TLS is scarce and shared");

void add(std::atomic<uint64_t>& counter, uint64_t amount) noexcept {
  counter.fetch_add(amount, std::memory_order_relaxed);
}

Rates rates() noexcept {
  const uint64_t base = dormant() ? 0 : governor::period();
  const bool by_caller = options.callers.any();
  return {base, by_caller ? callers::finest(base) : base,
          options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls, by_caller,
          // To look without a sample takes little, and who looks once a period answers as soon as that.
          base == 0 ? Sampler::kLongestGap : std::clamp<uint64_t>(base, 64 << 10, Sampler::kLongestGap)};
}

}  // namespace

constinit thread_local const void* asking = nullptr;  // or it was withdrawn

Way get_ready() noexcept {
  if (ready.load(std::memory_order_acquire)) [[likely]]
    return Way::real;
  cpu::store_thread_word(cpu::kUnusedThreadWord, 0);  // the hot path may have counted there
  return lifecycle::relocated() ? lifecycle::start() : Way::early;
}

/// A child made behind fork's back. The gap that it has inherited still holds; what follows is drawn from its own
/// stream.
void notice_fork() noexcept {
  if (process::is_new_child() && process::forked()) forked();
}

[[gnu::cold, gnu::noinline]] void tell_period() noexcept {
  Text period;
  journal::option_changed("sample_period", period.bytes(governor::period()).view());
}

/// What is done now and then, by whoever comes along: at most once a millisecond, and in 1/256 of a CPU's time, but for
/// who was interrupted meanwhile.
[[gnu::cold, gnu::noinline]] void take_turn(uint64_t due, uint64_t now) noexcept {
  const uint64_t millisecond = clock::ticks_per_second() / 1000;
  if (!next_turn.compare_exchange_strong(due, now + millisecond, std::memory_order_relaxed)) return;
  if (governor::look(now)) tell_period();
  control::serve();
  if (protect::armed()) protect::refill(now);
  const uint64_t rest = std::min(256 * (clock::ticks() - now), 50 * millisecond);
  if (rest > millisecond) next_turn.store(now + rest, std::memory_order_relaxed);
}

void pass_by() noexcept {
  const uint64_t now = clock::ticks(), due = next_turn.load(std::memory_order_relaxed);
  if (now >= due) take_turn(due, now);
}

Verdict judge(const Request& request) noexcept {
  if (const Way way = get_ready(); way != Way::real) [[unlikely]] {
    if (way == Way::pass) add(stats.early, 1);
    return {way};
  }
  const uint64_t since = clock::ticks();
  notice_fork();
  if (!sampler.seeded()) sampler.seed(process::next_seed());
  if (sampler.overrun()) add(stats.dropped, 1);
  Rates now = rates();
  // What a turn changes holds from the next request on: this one may have it only because it was hit, and would be lost
  // too often if that were to stop the sampling.
  const uint64_t due = next_turn.load(std::memory_order_relaxed);
  const bool turn = since >= due;
  if (turn) now.step = 0;
  uint64_t period = sampler.confirm(request.size, request.caller, now);
  if (turn) [[unlikely]]
    take_turn(due, since);
  if (period != 0 && sink::is_our_own_thread(thread_number())) period = 0;  // a sink's request, not the program's
  Verdict verdict{Way::real, period, std::exchange(asking, request.caller), since};
  // By calls every call comes here: what that takes is no sample's, and no longer period would spare it.
  if (turn || (period == 0 && !now.by_calls)) verdict.since = Metered::count(stats.for_visits, since);
  return verdict;
}

void settle(const Request& request, const Verdict& verdict, bool granted) noexcept {
  const bool withdrawn = asking == nullptr;
  asking = verdict.outer;
  if (withdrawn || !granted) return;
  sampler.count(request.size);
  if (verdict.period == 0) return;
  add(stats.samples, 1);
  add(stats.sampled_bytes, request.size);
  add(stats.counted_bytes, sampler.take_since());
  if (auto_period::count(trace::processes_before())) [[unlikely]]
    tell_period();
}

void afterwards(const Request& request) noexcept {
  if (!charge(request.size)) return;
  uncharge(request.size);
  const Verdict verdict = judge(request);
  if (verdict.way == Way::real) settle(request, verdict, true);
}

const void* withdraw(size_t size) noexcept {
  if (asking == nullptr) sampler.refund(size);  // only the hot path had it
  return std::exchange(asking, nullptr);
}

void* early(const Request& request) noexcept {
  add(stats.early, 1);
  void* ptr = bootstrap::allocate(request.size, request.alignment);
  if (ptr == nullptr && lifecycle::relocated()) errno = ENOMEM;
  return ptr;
}

void* early_resize(const Request& request, void* ptr) noexcept {
  void* fresh = early(request);
  if (fresh == nullptr || !bootstrap::contains(ptr)) return fresh;
  cpu::copy(fresh, ptr, std::min(bootstrap::size_of(ptr), request.size));
  bootstrap::release(ptr);
  return fresh;
}

void set_ready() noexcept { ready.store(true, std::memory_order_release); }
void set_dormant() noexcept { asleep.store(true, std::memory_order_relaxed); }
bool dormant() noexcept { return asleep.load(std::memory_order_relaxed); }

void forked() noexcept {
  fork_copy::in_child();
  for (auto* counter : {&stats.samples, &stats.sampled_bytes, &stats.counted_bytes, &stats.early, &stats.dropped,
                        &stats.deepbinds, &stats.namespaces, &stats.for_samples, &stats.for_visits, &stats.overlong})
    counter->store(0, std::memory_order_relaxed);
  for (auto& cause : stats.unplaced)
    for (auto& counter : cause) counter.store(0, std::memory_order_relaxed);
  forget_thread_number();
  next_turn.store(0, std::memory_order_relaxed);
  clock::forked();
  tracked_alloc::forked(process::next_seed());
  journal::forked();
  protect::forked();
  sink::forked();
  governor::begin();
  control::forked();
  sampler.seed(process::next_seed());
}

}  // namespace sampled
}  // namespace poireau
