#pragma once
#include <string_view>

#include "config/options.h"
#include "preload/base/text.h"

/// What is wrong with a setting, in words: for files, environment and control socket alike.
namespace poireau::config {

/// Adds text from outside to a line: at most `most` characters, whatever is not printable ASCII as \xNN.
void add_foreign(Text& out, std::string_view text, size_t most) noexcept;

/// Adds the reason of a failed `set(name, ...)`.
void explain(Text& out, std::string_view name, SetResult result) noexcept;

}  // namespace poireau::config
