#include "preload/counters.h"

#include "preload/base/words.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/event.h"
#include "preload/journal.h"
#include "preload/stats.h"
#include "preload/trace.h"

namespace poireau::journal {
namespace {

constinit uint64_t told_at = 0;
constinit uint32_t told_in = 0;

void tell_drops(void*, std::string_view cause, uint64_t count) noexcept {
  if (count == 0) return;
  event::Drops event;
  event.cause = cause;
  event.count = count;
  static_cast<void>(trace::write(event));
}

uint64_t unplaced(int cause) noexcept {
  uint64_t sum = 0;
  for (const auto& counter : stats.unplaced[cause]) sum += counter.load(std::memory_order_relaxed);
  return sum;
}

}  // namespace

void for_each_drop(void* to, void (*tell)(void* to, std::string_view cause, uint64_t count) noexcept) noexcept {
  tell(to, "no room in the trace", trace::dropped());
  tell(to, "files removed early to keep within trace_limit", trace::removed_early());
  tell(to, "packets overwritten, no new file can be had", trace::overwritten());
  tell(to, "never written", lost());
  tell(to, "no room for the stack", depot::refused());
  tell(to, "overrun by a signal handler", stats.dropped.load(std::memory_order_relaxed));
  tell(to, "before the options were known", stats.early.load(std::memory_order_relaxed));
  static constexpr std::string_view kCauses[] = {"no home: sandbox", "no home: limits", "no home: memory",
                                                 "no home: kind of request", "no home: others free it"};
  static_assert(std::size(kCauses) == POIREAU_DROPS);
  for (int cause = 0; cause < POIREAU_DROPS; ++cause)
    tell(to, kWords<kCauses>[static_cast<size_t>(cause)], unplaced(cause));
}

void tell_counters() noexcept {
  told_at = clock::ticks();
  told_in = trace::current();
  event::Cost event;
  event.cycles = stats.cycles();
  event.cycles_per_second = clock::ticks_per_second();
  event.samples = stats.samples.load(std::memory_order_relaxed);
  event.sampled_bytes = stats.sampled_bytes.load(std::memory_order_relaxed);
  event.counted_bytes = stats.counted_bytes.load(std::memory_order_relaxed);
  event.trace_bytes = trace::bytes();
  static_cast<void>(trace::write(event));
  for_each_drop(nullptr, tell_drops);
}

void tell_counters_now_and_then() noexcept {
  if (told_in != trace::current() || clock::ticks() - told_at > clock::ticks_per_second()) tell_counters();
}

}  // namespace poireau::journal
