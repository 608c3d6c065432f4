#pragma once
#include <algorithm>
#include <cstddef>
#include <string_view>

/// Taking text apart. Written out where the standard library would call memchr or might throw.
namespace poireau::config {

/// What stands before the first `separator`, or all there is; `rest` becomes what follows it.
constexpr std::string_view take_until(std::string_view& rest, char separator) noexcept {
  size_t length = 0;
  while (length < rest.size() && rest[length] != separator) ++length;
  const std::string_view taken(rest.data(), length);
  rest.remove_prefix(std::min(length + 1, rest.size()));
  return taken;
}

constexpr bool blank(char c) noexcept { return c == ' ' || c == '\t'; }

constexpr std::string_view trimmed(std::string_view text) noexcept {
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

constexpr bool printable(char c) noexcept { return c >= ' ' && c <= '~'; }

constexpr bool has_control_characters(std::string_view text) noexcept {
  const auto control = [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7f; };
  return std::any_of(text.begin(), text.end(), control);
}

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
constexpr char upper(char c) noexcept { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }

}  // namespace poireau::config
