#include <atomic>

#include "preload/extension.h"
#include "preload/module.h"
#include "preload/protected.h"
#include "preload/reentry.h"
#include "preload/shapes.h"
#include "preload/symbols.h"

// The hooks of one allocator's own functions, in a library of their own (see hooks.def). The hot path is the same as
// in libpoireau.so, on the same counter; all else is asked of libpoireau.so.

using namespace poireau;

extern "C" [[gnu::weak]] const Extension* poireau_extension();

namespace poireau {

constinit ptrdiff_t gap_offset = cpu::kUnusedThreadWord;
constinit int64_t tracked_alloc::region_floor = tracked_alloc::kEverything;

namespace {
constinit std::atomic<const Extension*> shim{nullptr};
void connect() noexcept;
}  // namespace

namespace sampled {

Verdict judge(const Request& request) noexcept {
  if (const Extension* const known = shim.load(std::memory_order_acquire)) return known->judge(request);
  cpu::store_thread_word(cpu::kUnusedThreadWord, 0);
  connect();
  return {shim.load(std::memory_order_relaxed) != nullptr ? Way::again : Way::pass};
}

void settle(const Request& request, const Verdict& verdict, bool granted) noexcept {
  shim.load(std::memory_order_relaxed)->settle(request, verdict, granted);
}

void afterwards(const Request& request) noexcept {
  if (const Extension* const known = shim.load(std::memory_order_relaxed)) known->afterwards(request);
}

void* early(const Request&) noexcept { return nullptr; }
void* early_resize(const Request&, void*) noexcept { return nullptr; }

const Extension* connected() noexcept {
  connect();
  return shim.load(std::memory_order_acquire);
}

bool release(void* ptr, Release with, size_t size, const void* caller) noexcept {
  const Extension* const known = connected();
  return known != nullptr && known->release(ptr, with, size, caller);
}

bool measure(const void* ptr, size_t& size) noexcept {
  const Extension* const known = connected();
  return known != nullptr && known->measure(ptr, size);
}

Loan borrow(const Request& request, void* ptr) noexcept {
  const Extension* const known = connected();
  return known == nullptr ? Loan{Loan::Way::theirs, ptr} : known->borrow(request, ptr);
}

void repay(const Request& request, const Loan& loan, bool granted) noexcept {
  shim.load(std::memory_order_relaxed)->repay(request, loan, granted);
}

void* place(const Request& request, const Verdict& verdict) noexcept {
  return shim.load(std::memory_order_relaxed)->place(request, verdict);
}

void* move_in(const Request& request, const Verdict& verdict, void* ptr) noexcept {
  return shim.load(std::memory_order_relaxed)->move_in(request, verdict, ptr);
}

}  // namespace sampled

namespace protect {

void* allocate(Kind kind, size_t size, size_t alignment, const void* caller) noexcept {
  return shim.load(std::memory_order_relaxed)->allocate_protected(kind, size, alignment, caller);
}

void* move_in(const sampled::Request& request, void* ptr) noexcept {
  return shim.load(std::memory_order_relaxed)->move_in_protected(request, ptr);
}

bool is_no_block(const void* ptr, std::string_view function, const void* caller) noexcept {
  return shim.load(std::memory_order_relaxed)->is_no_block(ptr, function, caller);
}

}  // namespace protect
}  // namespace poireau

#define PROTECTED_answer(...)
#define HOOK_ROW(shape, library, ...) SHAPE_##shape(__VA_ARGS__) PROTECTED_##shape(__VA_ARGS__)
#include "preload/rows.h"

namespace poireau {
namespace {

constinit std::atomic<bool> resolved{false}, connecting{false};

/// Counts each function only where it doesn't come back by another of ours.
void route() noexcept {
  [[maybe_unused]] const link_map* const allocator = module_of(symbols::find("malloc", module_of(&real).map)).map;
  [[maybe_unused]] Heap heap = nullptr;
  if (auto* default_heap = reinterpret_cast<Heap (*)()>(first_of("mi_heap_get_default"))) heap = default_heap();
#define ROUTE_allocate(name)                                                                               \
  if (next.name != nullptr && map_of(next.name) == allocator && reentry::counted_by(next.name, heap) != 0) \
    real.name = through_##name;
#define ROUTE_resize ROUTE_allocate
#define ROUTE_store ROUTE_allocate
#define ROUTE_release(name)
#define ROUTE_ask(name) \
  if (next.name != nullptr) real.name = owned_##name;
#define ROUTE_answer(name)
#define HOOK_ROW(shape, library, name, ...) ROUTE_##shape(name)
#ifndef POIREAU_EXTENSION_dlmalloc
#include "preload/rows.h"
#endif
#undef HOOK_ROW
}

void protect_all() noexcept {
  [[maybe_unused]] constexpr bool on = true;
  beneath = real;
// Also what comes by us again, for that may be where nothing is placed.
#undef ARM_allocate
#define ARM_allocate ARM_ROW
#define ARM_answer(name)
#define HOOK_ROW(shape, library, name, ...) ARM_##shape(name)
#include "preload/rows.h"
}

/// Resolves our functions, and takes up with libpoireau.so once it is ready.
void connect() noexcept {
  if (connecting.exchange(true)) return;  // our own lookups, or another thread
  if (!resolved.exchange(true)) {
    resolve();
    real = next;
  }
  if (shim.load(std::memory_order_relaxed) == nullptr && poireau_extension != nullptr) {
    const Extension* const found = poireau_extension();
    if (found->version == kExtensionVersion && found->ready) {
      gap_offset = found->gap_offset;
      tracked_alloc::region_floor = found->region_floor;
      found->reroute(route);
      shim.store(found, std::memory_order_release);
      if (found->protects_all()) protect_all();
    }
  }
  connecting.store(false);
}

[[gnu::constructor]] void load() noexcept { connect(); }

}  // namespace
}  // namespace poireau
