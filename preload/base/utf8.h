#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace poireau {

/// How many bytes the character that `text` begins with has; 0: it begins with none.
[[nodiscard]] size_t utf8_size(std::string_view text) noexcept;
/// Writes a character, 1 to 4 bytes. Returns what follows it.
char* write_utf8(char* to, uint32_t character) noexcept;

/// The control characters of ASCII.
constexpr bool is_control(uint32_t character) noexcept { return character < 0x20 || character == 0x7f; }

}  // namespace poireau
