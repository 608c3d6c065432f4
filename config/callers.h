#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

#include "config/values.h"

namespace poireau {

/// How much more (8/1) or less (1/16) often than others a caller is sampled; 0/1 is never.
struct Rate {
  uint32_t numerator = 1, denominator = 1;  // the denominator is never 0
  friend bool operator==(const Rate&, const Rate&) = default;
};

/// FNV-1a of a module's file name without its directories: what `Callers` knows modules by.
constexpr uint64_t module_hash(std::string_view base_name) noexcept {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : base_name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

namespace config {

/// Sampling rates by caller: `module=N`, `module=1/N`, `module+0xoffset=N`, with commas between them; an address's
/// own entry wins over its module's, a later entry over an earlier one.
class Callers : public FixedText<1024> {
 public:
  static constexpr std::string_view kType = "rates", kRange = "up to 16 entries, N up to 1024, 1024 bytes in all",
                                    kWanted = "a list like 'libssl.so.3=8, redis-server+0x4a3b0=1/16, noisy.so=0'";
  static constexpr size_t kMostEntries = 16;
  static constexpr uint64_t kMostRate = 1024;

  /// Starts with no entries; the built-in text can only be "".
  constexpr explicit Callers(const char (&)[1]) noexcept : FixedText(std::string_view()) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text&) const noexcept { return view(); }
  static std::string_view show(std::string_view value, Text&) noexcept { return value; }

  /// The rate of the code `offset` bytes into a module. Any thread, any time: during a `set` it sees the old
  /// entries or the new ones; overtaken by two of them perhaps a mixture, but always a rate that was asked for.
  [[nodiscard]] Rate rate_for(uint64_t module, uint64_t offset) const noexcept;
  /// Whether anybody has a rate of his own.
  [[nodiscard]] bool any() const noexcept {
    return lists_[current_.load(std::memory_order_relaxed)][0].rate.load(std::memory_order_relaxed) != 0;
  }
  /// The highest rate anybody has, at least 1. A reader that races with `set` may meet a rate above it.
  [[nodiscard]] uint32_t highest_rate() const noexcept { return 1 + above_one_.load(std::memory_order_relaxed); }

 private:
  struct Entry {
    uint64_t module, offset, rate;
  };
  struct Slot {
    // `rate` is a packed Rate and whether the whole module is meant; 0 ends the list.
    std::atomic<uint64_t> module{0}, offset{0}, rate{0};
  };
  using Entries = std::array<Entry, kMostEntries>;
  static SetResult parse_entry(std::string_view text, Entry& out) noexcept;
  static SetResult parse(std::string_view text, Entries& out, size_t& count) noexcept;
  void publish(const Entries& entries, size_t count) noexcept;

  std::array<std::array<Slot, kMostEntries>, 2> lists_{};
  std::atomic<uint32_t> current_{0}, above_one_{0};  // the highest rate, less 1: all-zero is no entries
};

}  // namespace config
}  // namespace poireau
