#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace poireau::tracked_alloc {

/// Numbers (never 0) in the order they came, more or less: who is late by a turn loses his place. Lock-free: nobody
/// waits for a thread that was interrupted, or that a fork left behind.
class Ring {
 public:
  using Cell = std::atomic<uint64_t>;
  /// `capacity` is a power of two. The cells are zero.
  constexpr Ring(Cell* cells, size_t capacity) noexcept : cells_(cells), capacity_(capacity) {}

  /// For a ring that was made without cells.
  void use(Cell* cells) noexcept { cells_ = cells; }

  /// Returns the one that it had to make room, or 0.
  [[nodiscard]] uint64_t push(uint64_t number) noexcept {
    const uint64_t at = head_.fetch_add(1, std::memory_order_relaxed);
    uint64_t first = tail_.load(std::memory_order_relaxed);
    // A pop may have passed our cell by now.
    if (at > first && at - first >= capacity_)
      tail_.compare_exchange_strong(first, first + 1, std::memory_order_relaxed);
    return cells_[at & (capacity_ - 1)].exchange(number);
  }

  /// The oldest if there are more than `but`; else 0.
  [[nodiscard]] uint64_t pop(size_t but = 0) noexcept {
    uint64_t first = tail_.load(std::memory_order_relaxed);
    while (head_.load(std::memory_order_relaxed) - first > but && head_.load(std::memory_order_relaxed) > first) {
      if (!tail_.compare_exchange_weak(first, first + 1, std::memory_order_relaxed)) continue;
      if (const uint64_t number = cells_[first & (capacity_ - 1)].exchange(0); number != 0) return number;
      ++first;
    }
    return 0;
  }

  /// Who would come first; 0: nobody.
  [[nodiscard]] uint64_t oldest() const noexcept {
    const uint64_t first = tail_.load(std::memory_order_relaxed);
    return first == head_.load(std::memory_order_relaxed) ? 0 : cells_[first & (capacity_ - 1)].load();
  }

  [[nodiscard]] size_t size() const noexcept {
    const uint64_t first = tail_.load(std::memory_order_relaxed);
    return head_.load(std::memory_order_relaxed) - first;
  }

 private:
  Cell* cells_;
  size_t capacity_;
  std::atomic<uint64_t> head_{0}, tail_{0};
};

}  // namespace poireau::tracked_alloc
