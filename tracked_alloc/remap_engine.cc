#include "tracked_alloc/remap_engine.h"

#include "preload/base/sys.h"
#include "preload/base/undisturbed.h"
#include "tracked_alloc/remap_arena.h"

namespace poireau::tracked_alloc::remap {
namespace engines {
namespace {

constexpr size_t kPage = region::kPage;
constexpr uintptr_t kTrial = arena::kAnchor - region::kGib;

constinit const Kind* chosen = &kNone;

void* pointer(uintptr_t at) noexcept { return reinterpret_cast<void*>(at); }

/// Whether it does what it says, found out on two pages.
bool works(const Kind& kind, size_t offset) noexcept {
  if (!arena::show(offset, 2, kTrial)) return false;
  void* const first = pointer(kTrial);
  void* const second = pointer(kTrial + kPage);
  *static_cast<volatile char*>(first) = 1;
  const bool does = kind.enter(first, 2 * kPage) && kind.close(first, kPage) && !sys::readable(first) &&
                    sys::readable(second) && kind.open(first, kPage) && sys::readable(first) &&
                    *static_cast<volatile char*>(first) == 1 && kind.close(first, kPage) &&
                    kind.leave(first, 2 * kPage) && sys::readable(first);
  sys::unmap(first, 2 * kPage);
  return does;
}

struct Range {
  void* at;
  size_t size;
};
Range all_of(const runs::Run& run) noexcept {
  return {pointer(places::address_of(run.first.load(std::memory_order_relaxed))), kPage << run.shift};
}
Range block_of(const runs::Run& run, unsigned n) noexcept {
  const size_t group = runs::shape_of(run).group;
  return {pointer(places::address_of(run.first.load(std::memory_order_relaxed) + n * group)), group * kPage};
}

/// Whether the engine knows the run's addresses. Of two that want it at once one goes without.
bool is_entered(runs::Run& run) noexcept {
  uint8_t now = run.engine.load(std::memory_order_acquire);
  if (now != runs::strange) return now == runs::entered;
  const Undisturbed undisturbed(!arena::sealed());
  if (!run.engine.compare_exchange_strong(now, runs::entering, std::memory_order_acq_rel)) return now == runs::entered;
  const Range all = all_of(run);
  const bool done = chosen->enter(all.at, all.size);
  run.engine.store(done ? runs::entered : runs::strange, std::memory_order_release);
  return done;
}

}  // namespace

void choose(Engine wanted) noexcept {
  const size_t offset = arena::take(1);
  if (offset == SIZE_MAX) return;
  for (const Kind* kind : {&kMarkers, &kUserfaultfd})
    if ((wanted == Engine::automatic || wanted == kind->engine) && works(*kind, offset)) {
      chosen = kind;
      break;
    }
  static_cast<void>(arena::drop(offset, 2));
}

const Kind& kind() noexcept { return *chosen; }

bool close(runs::Run& run, unsigned block, unsigned count) noexcept {
  if (chosen == &kNone || arena::sealed()) return false;
  const Range first = block_of(run, block);
  // Once more in the child of a handler that came between and forked: there the run's pages are new.
  do {
    if (!is_entered(run) || !chosen->close(first.at, first.size * count)) return false;
  } while (run.engine.load(std::memory_order_acquire) == runs::strange);
  run.single.fetch_add(count, std::memory_order_relaxed);
  runs::sums.single.fetch_add(count * uint64_t{runs::shape_of(run).capacity}, std::memory_order_relaxed);
  runs::sums.closed.fetch_add(count, std::memory_order_relaxed);
  return true;
}

bool open(runs::Run& run, unsigned block) noexcept {
  const Range range = block_of(run, block);
  if (arena::sealed() || !chosen->open(range.at, range.size)) return false;
  run.single.fetch_sub(1, std::memory_order_relaxed);
  runs::sums.single.fetch_sub(runs::shape_of(run).capacity, std::memory_order_relaxed);
  return true;
}

void forked(runs::Run& run) noexcept {
  run.engine.store(runs::strange, std::memory_order_relaxed);
  if (run.single.load(std::memory_order_relaxed) == 0) return;
  const bool entered = is_entered(run);
  const auto closed = [&](unsigned n) {
    return (runs::entry_of(run, n).died.load(std::memory_order_relaxed) & places::kClosed) != 0;
  };
  for (unsigned first = 0, n = 0; first < run.blocks; first = n) {
    while (n < run.blocks && closed(n) == closed(first)) ++n;
    const Range range = block_of(run, first);
    if (!closed(first) || (entered && chosen->close(range.at, range.size * (n - first)))) continue;
    for (unsigned i = first; i < n; ++i) runs::entry_of(run, i).died.fetch_and(~uint64_t{places::kClosed});
    run.single.fetch_sub(n - first, std::memory_order_relaxed);
    runs::sums.single.fetch_sub((n - first) * uint64_t{runs::shape_of(run).capacity}, std::memory_order_relaxed);
  }
}

void enter_again(const runs::Run& run, uintptr_t at, size_t size) noexcept {
  if (run.engine.load(std::memory_order_acquire) == runs::entered) static_cast<void>(chosen->enter(pointer(at), size));
}

bool may_move(const runs::Run& run) noexcept {
  return chosen->moves || run.engine.load(std::memory_order_acquire) == runs::strange;
}

bool let_go(runs::Run& run) noexcept {
  if (run.engine.load(std::memory_order_acquire) == runs::strange) return true;
  const Range all = all_of(run);
  if (!chosen->leave(all.at, all.size)) return false;
  run.engine.store(runs::strange, std::memory_order_release);
  return true;
}

}  // namespace engines

Engine engine() noexcept { return engines::kind().engine; }

}  // namespace poireau::tracked_alloc::remap
