#include "preload/sampled.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "config/options.h"
#include "preload/bootstrap.h"
#include "preload/callers.h"
#include "preload/process.h"
#include "preload/real.h"
#include "preload/stats.h"
#include "tracked_alloc/tracked_alloc.h"

namespace poireau {

constinit Stats stats{};

namespace sampled {
namespace {

constinit std::atomic<bool> ready{false}, asleep{false};

[[gnu::tls_model("initial-exec")]] constinit thread_local Pending pending;
static_assert(sizeof(Sampler) + sizeof(Pending) <= 64, "static TLS is scarce and shared");

void add(std::atomic<uint64_t>& counter, uint64_t amount) noexcept {
  counter.fetch_add(amount, std::memory_order_relaxed);
}

Rates rates() noexcept {
  const uint64_t base = dormant() ? 0 : options.sample_period.load(std::memory_order_relaxed);
  const bool by_caller = options.callers.any();
  return {base, by_caller ? callers::finest(base) : base,
          options.sample_by.load(std::memory_order_relaxed) == SampleBy::calls, by_caller};
}

Way start() noexcept {
  cpu::store_thread_word(cpu::kUnusedThreadWord, 0);  // the hot path may have counted there
  return lifecycle::relocated() ? lifecycle::start() : Way::early;
}

}  // namespace

Verdict judge(const Request& request) noexcept {
  if (!ready.load(std::memory_order_acquire)) [[unlikely]] {
    const Way way = start();
    if (way == Way::pass) {
      sampler.stay_cold();
      add(stats.early, 1);
    }
    return {way, {}, {}};
  }
  const bool new_child = process::is_new_child();
  if (new_child) process::forked();
  if (!sampler.seeded()) sampler.seed(process::next_seed());
  const Pick pick = sampler.confirm(request.size, request.caller, rates());
  if (new_child) forked();
  return {Way::real, pick, std::exchange(pending, {request.caller, pick.since})};
}

void settle(const Request& request, const Verdict& verdict, bool granted) noexcept {
  const bool withdrawn = pending.caller == nullptr;
  pending = verdict.outer;
  const Pick& pick = verdict.pick;
  if (withdrawn) return;
  if (!granted) return sampler.refund(request.size, pick);
  if (pick.period == 0) return;
  add(stats.samples, 1);
  add(stats.sampled_bytes, request.size);
  add(stats.counted_bytes, pick.since);
}

const void* withdraw(size_t size) noexcept {
  sampler.refund(size, {0, pending.caller == nullptr ? 0 : pending.since});
  return std::exchange(pending.caller, nullptr);
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

bool release(void* ptr) noexcept {
  if (bootstrap::contains(ptr)) {
    bootstrap::release(ptr);
    return true;
  }
  // Before anything is known there is nothing that could be passed on but nullptr.
  return !ready.load(std::memory_order_acquire) && start() == Way::early;
}

bool measure(const void* ptr, size_t& size) noexcept {
  if (!bootstrap::contains(ptr)) {
    size = 0;
    return !ready.load(std::memory_order_acquire) && start() == Way::early;
  }
  size = bootstrap::size_of(ptr);
  return true;
}

void* hand_over(void* ptr) noexcept {
  if (!bootstrap::contains(ptr)) return ptr;
  if (!ready.load(std::memory_order_acquire) && start() == Way::early) return ptr;
  const size_t size = bootstrap::size_of(ptr);
  void* fresh = real.malloc(size);
  if (fresh == nullptr) return nullptr;
  std::memcpy(fresh, ptr, size);
  bootstrap::release(ptr);
  return fresh;
}

void set_ready() noexcept { ready.store(true, std::memory_order_release); }
void set_dormant() noexcept { asleep.store(true, std::memory_order_relaxed); }
bool dormant() noexcept { return asleep.load(std::memory_order_relaxed); }

void forked() noexcept {
  for (auto* counter : {&stats.samples, &stats.sampled_bytes, &stats.counted_bytes, &stats.early, &stats.dropped,
                        &stats.deepbinds, &stats.namespaces})
    counter->store(0, std::memory_order_relaxed);
  sampler.seed(process::next_seed());
}

}  // namespace sampled
}  // namespace poireau
