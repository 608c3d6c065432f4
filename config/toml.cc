#include "config/toml.h"

#include "config/scan.h"

namespace poireau::config {
namespace {

constexpr std::string_view kTooLong = "the value is too long";

constexpr bool in_key(char c) noexcept {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/// Nothing more on this line, or a comment.
constexpr bool ends(std::string_view rest) noexcept {
  rest = trimmed(rest);
  return rest.empty() || rest.front() == '#';
}

void skip_blanks(std::string_view& rest) noexcept {
  while (!rest.empty() && blank(rest.front())) rest.remove_prefix(1);
}

}  // namespace

TomlReader::TomlReader(std::string_view text, std::span<char> scratch) noexcept : rest_(text), scratch_(scratch) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
}

bool TomlReader::next(TomlLine& out) noexcept {
  while (!rest_.empty()) {
    std::string_view line = take_until(rest_, '\n');
    ++number_;
    if (line.ends_with('\r')) line.remove_suffix(1);
    line = trimmed(line);
    if (ends(line)) continue;
    out = {number_, {}, {}, {}};
    if (line.front() == '[') {
      out.error = read_header(line);
      if (out.error.empty()) continue;
    } else if (foreign_section_) {
      continue;  // told at its header
    } else {
      out.error = read_setting(line, out);
    }
    return true;
  }
  return false;
}

std::string_view TomlReader::read_header(std::string_view line) noexcept {
  line.remove_prefix(1);
  const std::string_view name = trimmed(take_until(line, ']'));
  foreign_section_ = name != "poireau" || !ends(line);
  return foreign_section_ ? "the only section is [poireau]; this one is skipped" : "";
}

std::string_view TomlReader::read_setting(std::string_view line, TomlLine& out) noexcept {
  size_t length = 0;
  while (length < line.size() && in_key(line[length])) ++length;
  const std::string_view key(line.data(), length);
  line.remove_prefix(length);
  skip_blanks(line);
  if (key.empty() || !line.starts_with('=')) return "not of the form key = value";
  line.remove_prefix(1);
  skip_blanks(line);
  out.key = key;
  if (ends(line)) return "the value is missing";

  used_ = 0;
  std::string_view error;
  if (line.front() == '[') {
    error = read_list(line);
  } else if (line.front() == '"' || line.front() == '\'') {
    error = read_string(line);
  } else {
    out.value = trimmed(take_until(line, '#'));
    const auto mark = [](char c) { return c == '"' || c == '\'' || c == '[' || c == ']'; };
    const bool bare = std::none_of(out.value.begin(), out.value.end(), mark);
    return bare ? "" : "a quote or bracket in a value without quotes";
  }
  if (!error.empty()) return error;
  out.value = std::string_view(scratch_.data(), used_);
  return ends(line) ? "" : "something follows the value";
}

std::string_view TomlReader::read_list(std::string_view& rest) noexcept {
  rest.remove_prefix(1);
  for (bool first = true;; first = false) {
    skip_blanks(rest);
    if (rest.starts_with(']')) break;
    if (!rest.starts_with('"') && !rest.starts_with('\'')) return "a list holds strings, and ends on its line";
    if (!first && (!keep(',') || !keep(' '))) return kTooLong;
    if (const std::string_view error = read_string(rest); !error.empty()) return error;
    skip_blanks(rest);
    if (rest.starts_with(',')) {
      rest.remove_prefix(1);
    } else if (!rest.starts_with(']')) {
      return "a list needs commas between its strings, and ] on its line";
    }
  }
  rest.remove_prefix(1);
  return {};
}

std::string_view TomlReader::read_string(std::string_view& rest) noexcept {
  const char quote = rest.front();
  for (rest.remove_prefix(1); !rest.empty() && rest.front() != quote; rest.remove_prefix(1)) {
    if (quote == '"' && rest.front() == '\\') {
      rest.remove_prefix(1);
      if (!rest.starts_with('"') && !rest.starts_with('\\')) return "in a string \\ can only stand before \" or \\";
    }
    if (!keep(rest.front())) return kTooLong;
  }
  if (rest.empty()) return "the string has no end";
  rest.remove_prefix(1);
  return {};
}

bool TomlReader::keep(char c) noexcept {
  if (used_ == scratch_.size()) return false;
  scratch_[used_++] = c;
  return true;
}

}  // namespace poireau::config
