#pragma once
#include <cstdint>
#include <span>
#include <string_view>

namespace poireau::config {

/// A line that says something: a setting, or, where `error` is not empty, what is wrong with the line. A list
/// becomes one text with commas. The views last until the next line is read.
struct TomlLine {
  uint32_t number;
  std::string_view key, value, error;
};

/// Reads the part of TOML that options need: `key = value` lines, comments, one [poireau] header. A value is a
/// string without escapes but \" and \\, a list of strings on one line, or a bare word (numbers, true, 512KiB).
class TomlReader {
 public:
  /// Both must outlive the reader. `scratch` bounds the length of quoted values and lists.
  TomlReader(std::string_view text, std::span<char> scratch) noexcept;
  /// False at the end. A line that is wrong is told once, then reading goes on behind it.
  [[nodiscard]] bool next(TomlLine& out) noexcept;

 private:
  // Each returns what is wrong, or an empty text.
  std::string_view read_header(std::string_view line) noexcept;
  std::string_view read_setting(std::string_view line, TomlLine& out) noexcept;
  std::string_view read_list(std::string_view& rest) noexcept;
  std::string_view read_string(std::string_view& rest) noexcept;
  [[nodiscard]] bool keep(char c) noexcept;

  std::string_view rest_;
  std::span<char> scratch_;
  size_t used_ = 0;
  uint32_t number_ = 0;
  bool foreign_section_ = false;
};

}  // namespace poireau::config
