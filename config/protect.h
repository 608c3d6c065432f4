#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "config/callers.h"
#include "config/values.h"

namespace poireau::config {

/// Which blocks are protected: sampled ones or none, all, or those that fit an entry of a list: a size (`64`, `1K..4K`,
/// `..100`, `1M..`) or a caller's file (`libfoo.so`). Set at load, and stays.
class Protect : public FixedText<512> {
 public:
  static constexpr std::string_view kType = "protect", kRange = "off, sampled, all, up to 16 sizes and callers",
                                    kWanted = "off, sampled, all or a list like '64..1K, ..16, libfoo.so'";
  static constexpr size_t kMostEntries = 16;
  enum class Which : uint8_t { sampled, off, all, listed };

  /// Starts all-zero, which is "sampled"; the built-in text can only be that.
  constexpr explicit Protect(const char (&)[8]) noexcept : FixedText(std::string_view()) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text&) const noexcept { return view().empty() ? "sampled" : view(); }
  static std::string_view show(std::string_view value, Text&) noexcept { return value; }

  [[nodiscard]] Which which() const noexcept { return which_; }
  /// Whether blocks that are not sampled are, too.
  [[nodiscard]] bool beyond_samples() const noexcept { return which_ >= Which::all; }
  [[nodiscard]] bool wants_size(size_t size) const noexcept;
  /// Whether there are callers in the list; and whether the file with this name's hash is one.
  [[nodiscard]] bool has_callers() const noexcept;
  [[nodiscard]] bool wants_caller(uint64_t module) const noexcept;

 private:
  struct Entry {
    uint64_t least, most;  // a caller: its hash, and 0
  };
  static SetResult parse(std::string_view text, Entry& out) noexcept;

  std::array<Entry, kMostEntries> entries_{};
  uint8_t count_ = 0, callers_ = 0;  // callers stand behind sizes
  Which which_ = Which::sampled;
};

}  // namespace poireau::config
