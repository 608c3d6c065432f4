#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "config/scan.h"
#include "preload/base/text.h"

namespace poireau {
enum class SampleBy : uint8_t { bytes, calls };
enum class LogLevel : uint8_t { off, error, info, debug };
enum class Deepbind : uint8_t { strip, keep };
enum class Runtimes : uint8_t { step_aside, sample };
enum class Placement : uint8_t { slots, gib, remap };
enum class GuardMechanism : uint8_t { automatic, markers, userfaultfd, mprotect, none };
enum class OnError : uint8_t { go_on, report, abort };
enum class Core : uint8_t { include, once, exclude };
enum class Unwinder : uint8_t { automatic, rows, libgcc, libunwind, fp, none };
enum class Control : uint8_t { off, read, full };
enum class Revoke : uint8_t { governed, immediate, runs };
enum class Exhausted : uint8_t { fallback, abort };
enum class Sweep : uint8_t { off, in_line, on_demand };
enum class SyscallCheck : uint8_t { automatic, on, off };
enum class SinkKind : uint8_t { ctf, lttng, both, none };

/// What the option `guard` holds besides these is a rate a second, up to kGuardMostRate.
constexpr uint64_t kAutoPeriod = UINT64_MAX;  // what `sample_period` holds besides sizes
constexpr uint64_t kGuardOff = 0, kGuardMostRate = 1'000'000, kGuardGoverned = UINT64_MAX - 1, kGuardAll = UINT64_MAX;
}  // namespace poireau

/// The types an option can have. Each holds a value and knows its text: `set` takes a text or leaves the value as
/// it was, `show` gives one back that `set` takes (in `scratch`, which must be fresh, or a view of the value).
/// Scalars are atomics, to be read by any thread at any time.
namespace poireau::config {

enum class [[nodiscard]] SetResult : uint8_t{ok, unknown, malformed, out_of_range, too_late};

/// Takes a whole number off the front of `text`; as in TOML, underscores may stand between its digits.
SetResult take_number(std::string_view& text, unsigned base, uint64_t& out) noexcept;

class Size : public std::atomic<uint64_t> {
 public:
  static constexpr std::string_view kType = "size", kRange = "0..1TiB",
                                    kWanted = "a size (a whole number, with a suffix like 512KiB or 32M if you like)";
  static constexpr uint64_t kMost = uint64_t{1} << 40;
  constexpr explicit Size(uint64_t initial) noexcept : atomic(initial) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(uint64_t value, Text& scratch) noexcept { return scratch.bytes(value).view(); }
};

class Period : public Size {
 public:
  static constexpr std::string_view kType = "period", kRange = "auto, 0..1TiB",
                                    kWanted =
                                        "auto or a size (a whole number, with a suffix like 512KiB or 32M if you like)";
  using Size::Size;
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(uint64_t value, Text& scratch) noexcept;
};

class Count : public std::atomic<uint64_t> {
 public:
  static constexpr std::string_view kType = "count", kRange = "0..2^64-1", kWanted = "a whole number (12 or 0xC)";
  constexpr explicit Count(uint64_t initial) noexcept : atomic(initial) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(uint64_t value, Text& scratch) noexcept { return (scratch << value).view(); }
};

class Depth : public Count {
 public:
  static constexpr std::string_view kRange = "0..128", kWanted = "a whole number";
  static constexpr uint64_t kMost = 128;
  using Count::Count;
  SetResult set(std::string_view text) noexcept;
};

class Guard : public std::atomic<uint64_t> {
 public:
  static constexpr std::string_view kType = "guard", kRange = "governed, all, off, 1..1000000",
                                    kWanted = "governed, all, off or a whole number";
  constexpr explicit Guard(uint64_t initial) noexcept : atomic(initial) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(uint64_t value, Text& scratch) noexcept;
};

/// A share, in parts per million; 0 is off.
class Share : public std::atomic<uint64_t> {
 public:
  static constexpr std::string_view kType = "share", kRange = "off, 0.0001%..100%",
                                    kWanted = "off or a percentage (like 0.5%)";
  static constexpr uint64_t kMost = 1'000'000;
  constexpr explicit Share(uint64_t initial) noexcept : atomic(initial) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(uint64_t value, Text& scratch) noexcept;
};

class Flag : public std::atomic<bool> {
 public:
  static constexpr std::string_view kType = "flag", kRange = "on, off", kWanted = "one of on, off";
  constexpr explicit Flag(bool initial) noexcept : atomic(initial) {}
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text& scratch) const noexcept { return show(load(std::memory_order_relaxed), scratch); }
  static std::string_view show(bool value, Text&) noexcept { return value ? "on" : "off"; }
};

/// The names of an enum's values, in order.
template <typename Enum>
constexpr std::string_view kChoices = "";
template <>
inline constexpr std::string_view kChoices<SampleBy> = "one of bytes, calls";
template <>
inline constexpr std::string_view kChoices<LogLevel> = "one of off, error, info, debug";
template <>
inline constexpr std::string_view kChoices<Deepbind> = "one of strip, keep";
template <>
inline constexpr std::string_view kChoices<Runtimes> = "one of step_aside, sample";
template <>
inline constexpr std::string_view kChoices<Placement> = "one of slots, gib, remap";
template <>
inline constexpr std::string_view kChoices<GuardMechanism> = "one of auto, markers, userfaultfd, mprotect, none";
template <>
inline constexpr std::string_view kChoices<OnError> = "one of continue, report, abort";
template <>
inline constexpr std::string_view kChoices<Core> = "one of include, once, exclude";
template <>
inline constexpr std::string_view kChoices<Unwinder> = "one of auto, rows, libgcc, libunwind, fp, none";
template <>
inline constexpr std::string_view kChoices<Control> = "one of off, read, full";
template <>
inline constexpr std::string_view kChoices<SyscallCheck> = "one of auto, on, off";
template <>
inline constexpr std::string_view kChoices<SinkKind> = "one of ctf, lttng, both, none";

template <>
inline constexpr std::string_view kChoices<Revoke> = "one of governed, immediate, runs";
template <>
inline constexpr std::string_view kChoices<Exhausted> = "one of fallback, abort";
template <>
inline constexpr std::string_view kChoices<Sweep> = "one of off, inline, on-demand";

/// The place of `text` in a list of words; -1 when it isn't there.
int choice_number(std::string_view choices, std::string_view text) noexcept;
/// The word in that place; empty when the list is shorter.
std::string_view choice_name(std::string_view choices, int number) noexcept;

template <typename Enum>
class Choice : public std::atomic<Enum> {
 public:
  static constexpr std::string_view kType = "choice", kWanted = kChoices<Enum>;
  static constexpr std::string_view kRange = kWanted.substr(std::string_view("one of ").size());
  constexpr explicit Choice(Enum initial) noexcept : std::atomic<Enum>(initial) {}
  SetResult set(std::string_view text) noexcept {
    const int number = choice_number(kRange, text);
    if (number < 0) return SetResult::malformed;
    this->store(static_cast<Enum>(number), std::memory_order_relaxed);
    return SetResult::ok;
  }
  std::string_view show(Text& scratch) const noexcept { return show(this->load(std::memory_order_relaxed), scratch); }
  static std::string_view show(Enum value, Text&) noexcept { return choice_name(kRange, static_cast<int>(value)); }
};

/// Text in place. Not for readers that race with a writer. All-zero is the empty text.
template <size_t kMost>
class FixedText {
 public:
  constexpr explicit FixedText(std::string_view initial) noexcept : size_(static_cast<uint16_t>(initial.size())) {
    std::copy(initial.begin(), initial.end(), data_.begin());
  }
  [[nodiscard]] std::string_view view() const noexcept { return {data_.data(), size_}; }

 protected:
  static SetResult check(std::string_view text) noexcept {
    if (text.size() > kMost) return SetResult::out_of_range;
    return has_control_characters(text) ? SetResult::malformed : SetResult::ok;
  }
  void assign(std::string_view checked) noexcept {
    std::memmove(data_.data(), checked.data(), checked.size());  // it may be a view of ourselves
    size_ = static_cast<uint16_t>(checked.size());
  }

 private:
  std::array<char, kMost> data_{};
  uint16_t size_;
};

/// Program names separated by commas; `*` in one stands for any text.
class Names : public FixedText<512> {
 public:
  static constexpr std::string_view kType = "names", kRange = "up to 512 bytes",
                                    kWanted = "a list of names with commas between them";
  using FixedText::FixedText;
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text&) const noexcept { return view(); }
  static std::string_view show(std::string_view value, Text&) noexcept { return value; }
};

/// A file's or folder's path.
class Path : public FixedText<1024> {
 public:
  static constexpr std::string_view kType = "path", kRange = "up to 1024 bytes", kWanted = "an absolute path";
  using FixedText::FixedText;
  SetResult set(std::string_view text) noexcept;
  std::string_view show(Text&) const noexcept { return view(); }
  static std::string_view show(std::string_view value, Text&) noexcept { return value; }
};

/// Whether one of `names` is `program`, the last part of a program's path. No names match nothing.
[[nodiscard]] bool names_match(std::string_view names, std::string_view program) noexcept;

}  // namespace poireau::config
