#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace poireau::tracked_alloc {

/// What the caller wants remembered with a block; nothing of it is looked into here.
struct Birth {
  static constexpr uint64_t kMostSince = UINT64_MAX >> 1;
  uint64_t period;                    // what picked it
  uint64_t since : 63, by_calls : 1;  // bytes its thread had asked for since the sample before; what the period counts
  uint64_t time;                      // in ticks, never 0
  uint32_t thread, stack;
};
/// Or it has a home for nothing but its protection.
constexpr bool is_sampled(const Birth& birth) noexcept { return birth.period != 0; }
struct Death {
  uint64_t time;
  uint32_t thread, stack;
};

/// Of a home. `live` and `freed` homes hold a block, or what is known of one.
enum class State : uint8_t {
  absent,  // never used
  busy,    // some thread is opening or closing it
  live,
  watched,  // live; somebody looks at its surroundings for a moment
  freed,    // in quarantine: guarded homes fault, plain ones keep what was there
  idle,     // free to be used again; what is known of its last block stays until then
  retired,  // never used again: its guards are open, or its pages could not be closed
  part,     // not a home of its own: a further GiB of the one before
};

/// A home and its block: one entry of the table that free() trusts. Private memory, in our region, far from the
/// blocks. All-zero: absent. Everything but `state` belongs to the thread that made it `busy`; others may read at
/// any time and compare `state` before and after.
struct alignas(128) Record {             // so that a chunk's records are whole pages
  std::atomic<uint32_t> state_and_turn;  // State in the low 8 bits; above, how often the home has been used
  uint8_t kind, alignment_log2;
  bool guarded;
  bool dirty;                 // an idle home's pages may hold something
  bool poisoned;              // a freed block is filled with noise
  bool damaged;               // bytes around the block were found changed
  std::atomic<bool> exposed;  // pages around the block, or its own, were let through: never to be used again
  uintptr_t address;          // of the block
  size_t size;                // as it was asked for
  uint32_t pages;             // of the home, between its guards
  uint32_t guard_chance;      // that it became guarded, times 2^32, less one
  uintptr_t home;             // the first page
  Birth birth;
  Death death;
  uint32_t uses;               // blocks it has had, this one included
  std::atomic<uint32_t> note;  // the caller's, about this block; 0 when it is born
  uint64_t keepsake;           // where the freed block's content is kept; 0: nowhere (keepsakes.h)
  size_t room;                 // of the block that the program may use, at least its size

  [[nodiscard]] State state(std::memory_order order = std::memory_order_acquire) const noexcept {
    return static_cast<State>(state_and_turn.load(order) & 0xff);
  }
  /// Whether its block may be used, as far as one can say while somebody is busy with it.
  [[nodiscard]] bool live() const noexcept {
    const State now = state();
    return now == State::live || now == State::watched || (now == State::busy && death.time == 0);
  }
};
static_assert(sizeof(Record) == 128);

}  // namespace poireau::tracked_alloc
