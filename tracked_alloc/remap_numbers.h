#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/remap_places.h"

namespace poireau::tracked_alloc::remap {

/// The numbers of records of a table, which is mapped up to the last.
struct Numbers {
  const uintptr_t table;
  const size_t size, most;
  std::atomic<uint32_t> taken{0};
  std::atomic<uintptr_t> mapped{0};  // bytes

  [[nodiscard]] bool take(uint32_t& out) noexcept {
    out = taken.load(std::memory_order_relaxed);
    do {
      if (out == most || !reach(size_t{out} + 1)) return false;
    } while (!taken.compare_exchange_weak(out, out + 1, std::memory_order_relaxed));
    return true;
  }

  /// Whether there is memory for another: who asks first wastes none of what else it takes.
  [[nodiscard]] bool has_next() noexcept { return reach(taken.load(std::memory_order_relaxed) + size_t{1}); }

  /// Whether the first so many records are there.
  [[nodiscard]] bool reach(size_t count) noexcept {
    constexpr size_t kStep = 64 << 10;
    uintptr_t end = mapped.load(std::memory_order_acquire);
    while (end < count * size) {
      if (!places::have_table(table + end, kStep)) return false;
      if (mapped.compare_exchange_strong(end, end + kStep, std::memory_order_acq_rel)) end += kStep;
    }
    return true;
  }
};

}  // namespace poireau::tracked_alloc::remap
