#pragma once
#include <atomic>
#include <cstdint>

#include "preload/clock.h"

namespace poireau::protect {

/// Time that may be spent on something: so much at first, and then a share of the process's CPU time, up to what there
/// was at first. Shared by threads; who is on the way when it runs out may overdraw it.
class Budget {
 public:
  /// `first`: microseconds. `share`: parts per million.
  constexpr Budget(uint64_t first, uint64_t share) noexcept : first_(first), share_(share) {}

  /// Begins anew: all there was at first.
  void begin() noexcept;
  [[nodiscard]] bool spent() const noexcept { return left_.load(std::memory_order_relaxed) <= 0; }
  /// Adds what the time since has earned.
  void refill(uint64_t now) noexcept;

  /// What happens while it is there is paid for.
  class Expense {
   public:
    explicit Expense(Budget& budget) noexcept : budget_(budget), since_(clock::ticks()) {}
    ~Expense() {
      // A long one was mostly a wait for a processor.
      constexpr uint64_t kLongest = 1 << 17;
      const uint64_t passed = clock::ticks() - since_;
      budget_.left_.fetch_sub(static_cast<int64_t>(passed < kLongest ? passed : kLongest), std::memory_order_relaxed);
    }
    Expense(const Expense&) = delete;
    Expense& operator=(const Expense&) = delete;

   private:
    Budget& budget_;
    uint64_t since_;
  };

 private:
  [[nodiscard]] int64_t most() const noexcept;

  uint64_t first_, share_;
  std::atomic<int64_t> left_{0};  // ticks
  std::atomic<uint64_t> seen_at_{0}, seen_use_{0};
};

}  // namespace poireau::protect
