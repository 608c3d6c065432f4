#pragma once
#include <string_view>

#include "preload/base/text.h"

/// What we say on standard error. Anywhere: in signal handlers, in a sandbox, while nobody reads.
namespace poireau::voice {

/// The beginning of a line: who speaks.
[[nodiscard]] Text line() noexcept;

/// Writes `text` and ends the line.
void say(std::string_view text) noexcept;
/// Writes lines that are ended.
void say_lines(std::string_view lines) noexcept;

}  // namespace poireau::voice
