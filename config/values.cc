#include "config/values.h"

namespace poireau::config {
namespace {

constexpr unsigned digit(char c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
  const char letter = lower(c);
  return letter >= 'a' && letter <= 'f' ? static_cast<unsigned>(letter - 'a' + 10) : 16;
}

/// K, Ki and KiB are 1024, KB is 1000, and so on to T; B or nothing is 1. 0 for any other text.
uint64_t unit(std::string_view text) noexcept {
  if (text.empty()) return 1;
  const char first = lower(text.front());
  text.remove_prefix(1);
  if (first == 'b') return text.empty() ? 1 : 0;
  constexpr std::string_view kPowers = "kmgt";
  const auto found = std::find(kPowers.begin(), kPowers.end(), first);
  if (found == kPowers.end()) return 0;

  uint64_t base = 1024;
  if (text.size() == 1 && lower(text[0]) == 'b') {
    base = 1000;
  } else if (!text.empty() && lower(text[0]) == 'i') {
    if (text.size() > 2 || (text.size() == 2 && lower(text[1]) != 'b')) return 0;
  } else if (!text.empty()) {
    return 0;
  }
  uint64_t factor = base;
  for (auto power = kPowers.begin(); power != found; ++power) factor *= base;
  return factor;
}

/// Decimal or 0x hexadecimal, up to `most`, and nothing else.
SetResult whole_number(std::string_view text, uint64_t most, uint64_t& out) noexcept {
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  if (hex) text.remove_prefix(2);
  uint64_t value = 0;
  const SetResult number = take_number(text, hex ? 16 : 10, value);
  if (!text.empty()) return SetResult::malformed;
  if (number == SetResult::ok && value > most) return SetResult::out_of_range;
  if (number == SetResult::ok) out = value;
  return number;
}

bool matches(std::string_view pattern, std::string_view text) noexcept {
  size_t p = 0, t = 0, star = pattern.size(), star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_text = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star < pattern.size()) {  // let the last * take one more
      p = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace

SetResult take_number(std::string_view& text, unsigned base, uint64_t& out) noexcept {
  bool fits = true, after_digit = false;
  uint64_t value = 0;
  for (; !text.empty(); text.remove_prefix(1)) {
    if (after_digit && text.front() == '_') {
      after_digit = false;
      continue;
    }
    const unsigned next = digit(text.front());
    if (next >= base) break;
    after_digit = true;
    fits = !__builtin_mul_overflow(value, uint64_t{base}, &value) && fits;
    fits = !__builtin_add_overflow(value, uint64_t{next}, &value) && fits;
  }
  if (!after_digit) return SetResult::malformed;
  out = value;
  return fits ? SetResult::ok : SetResult::out_of_range;
}

SetResult Size::set(std::string_view text) noexcept {
  uint64_t value = 0;
  const SetResult number = take_number(text, 10, value);
  if (number == SetResult::malformed) return number;
  if (text.size() > 1 && text.front() == ' ') text.remove_prefix(1);
  const uint64_t factor = unit(text);
  if (factor == 0) return SetResult::malformed;
  if (number != SetResult::ok || __builtin_mul_overflow(value, factor, &value) || value > kMost)
    return SetResult::out_of_range;
  store(value, std::memory_order_relaxed);
  return SetResult::ok;
}

SetResult Period::set(std::string_view text) noexcept {
  if (text != "auto") return Size::set(text);
  store(kAutoPeriod, std::memory_order_relaxed);
  return SetResult::ok;
}

std::string_view Period::show(uint64_t value, Text& scratch) noexcept {
  return value == kAutoPeriod ? "auto" : Size::show(value, scratch);
}

SetResult Count::set(std::string_view text) noexcept {
  uint64_t value = 0;
  const SetResult number = whole_number(text, UINT64_MAX, value);
  if (number == SetResult::ok) store(value, std::memory_order_relaxed);
  return number;
}

SetResult Depth::set(std::string_view text) noexcept {
  uint64_t value = 0;
  const SetResult number = whole_number(text, kMost, value);
  if (number == SetResult::ok) store(value, std::memory_order_relaxed);
  return number;
}

SetResult Guard::set(std::string_view text) noexcept {
  uint64_t value = 0;
  if (text == "governed") {
    value = kGuardGoverned;
  } else if (text == "all") {
    value = kGuardAll;
  } else if (text == "off") {
    value = kGuardOff;
  } else {
    const SetResult number = whole_number(text, kGuardMostRate, value);
    if (number != SetResult::ok) return number;
    if (value == 0) return SetResult::out_of_range;
  }
  store(value, std::memory_order_relaxed);
  return SetResult::ok;
}

std::string_view Guard::show(uint64_t value, Text& scratch) noexcept {
  if (value == kGuardGoverned) return "governed";
  if (value == kGuardAll) return "all";
  return value == kGuardOff ? "off" : (scratch << value).view();
}

SetResult Share::set(std::string_view text) noexcept {
  uint64_t value = 0;
  if (text != "off") {
    if (text.ends_with('%')) text.remove_suffix(1);
    std::string_view fraction = trimmed(text);
    const std::string_view whole = take_until(fraction, '.');
    uint64_t digits = 0;
    for (size_t place = 0; place < 4; ++place) {
      const char digit = place < fraction.size() ? fraction[place] : '0';
      if (digit < '0' || digit > '9') return SetResult::malformed;
      digits = 10 * digits + static_cast<uint64_t>(digit - '0');
    }
    const SetResult number = whole_number(whole, kMost / 10'000, value);
    if (number != SetResult::ok) return number;
    value = 10'000 * value + digits;
    if (value == 0 || value > kMost || fraction.size() > 4) return SetResult::out_of_range;
  }
  store(value, std::memory_order_relaxed);
  return SetResult::ok;
}

std::string_view Share::show(uint64_t value, Text& scratch) noexcept {
  if (value == 0) return "off";
  scratch << value / 10'000;
  uint64_t rest = value % 10'000;
  if (rest != 0) scratch << ".";
  for (; rest != 0; rest = rest * 10 % 10'000) scratch << rest / 1'000;
  return (scratch << "%").view();
}

SetResult Flag::set(std::string_view text) noexcept {
  const bool on = text == "on" || text == "true" || text == "1";
  if (!on && text != "off" && text != "false" && text != "0") return SetResult::malformed;
  store(on, std::memory_order_relaxed);
  return SetResult::ok;
}

SetResult Names::set(std::string_view text) noexcept {
  const SetResult checked = check(text);
  if (checked == SetResult::ok) assign(text);
  return checked;
}

SetResult Path::set(std::string_view text) noexcept {
  if (!text.empty() && text[0] != '/') return SetResult::malformed;
  const SetResult checked = check(text);
  if (checked == SetResult::ok) assign(text);
  return checked;
}

int choice_number(std::string_view choices, std::string_view text) noexcept {
  for (int number = 0; !choices.empty(); ++number)
    if (trimmed(take_until(choices, ',')) == text) return number;
  return -1;
}

std::string_view choice_name(std::string_view choices, int number) noexcept {
  while (number-- > 0) take_until(choices, ',');
  return trimmed(take_until(choices, ','));
}

bool names_match(std::string_view names, std::string_view program) noexcept {
  while (!names.empty()) {
    const std::string_view name = trimmed(take_until(names, ','));
    if (!name.empty() && matches(name, program)) return true;
  }
  return false;
}

}  // namespace poireau::config
