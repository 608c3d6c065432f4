#pragma once
#include <cstddef>
#include <string_view>
#include <vector>

/// The text of CTF's metadata, cut up.
namespace poireau::native::babeltrace {

/// Words, numbers, strings with their quotes, and single signs; but `:=` is one.
using Tokens = std::vector<std::string_view>;

/// Takes a statement off the front: its tokens without the semicolon after it. False: there is none that is complete.
bool next_statement(std::string_view& text, Tokens& out);
/// How long the statements are that are complete.
[[nodiscard]] size_t complete(std::string_view text);

}  // namespace poireau::native::babeltrace
