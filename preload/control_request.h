#pragma once
#include <span>
#include <string_view>

/// One line from the control socket: a flat JSON object of strings, as {"do": "set", "option": "sample_period",
/// "value": "64K"}; numbers, true and false are taken for their texts.
namespace poireau::control {

/// The longest line, without its end.
constexpr size_t kMostLine = 4096;

/// Views into the line. An empty `wrong` means that it is a request; otherwise it says why not, in words that stay.
struct Request {
  std::string_view verb{}, option{}, value{};
  bool has_option = false, has_value = false;
  std::string_view wrong{};
};

/// Takes a line apart, and undoes its escapes in place. Whatever bytes it holds; no memory, no recursion.
[[nodiscard]] Request parse(std::span<char> line) noexcept;

}  // namespace poireau::control
