#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

/// What somebody has been told already: a bounded set that forgets when it is full, so that things are at worst told
/// twice. All-zero: nothing. Any thread, any time.
namespace poireau::journal {

template <size_t kSize>
class Told {
 public:
  /// True the first time.
  [[nodiscard]] bool add(uint64_t key) noexcept {
    constexpr size_t kLongestSearch = 8;
    key |= uint64_t{1} << 63;
    for (size_t step = 0; step < kLongestSearch; ++step) {
      auto& place = keys_[(key + step) % kSize];
      uint64_t there = place.load(std::memory_order_relaxed);
      if (there == key) return false;
      if (there == 0 && place.compare_exchange_strong(there, key, std::memory_order_relaxed)) return true;
    }
    keys_[key % kSize].store(key, std::memory_order_relaxed);
    return true;
  }
  void forget() noexcept {
    for (auto& key : keys_)
      if (key.load(std::memory_order_relaxed) != 0) key.store(0, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> keys_[kSize];
};

struct Audience {
  Told<1024> stacks;
  Told<512> modules, threads;
};

}  // namespace poireau::journal
