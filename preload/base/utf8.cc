#include "preload/base/utf8.h"

namespace poireau {

size_t utf8_size(std::string_view text) noexcept {
  if (text.empty()) return 0;
  const uint32_t first = static_cast<unsigned char>(text[0]);
  if (first < 0x80) return 1;
  const size_t size = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  if (size == 0 || size > text.size()) return 0;
  uint32_t character = first & (0x7fu >> size);
  for (size_t i = 1; i < size; ++i) {
    const uint32_t more = static_cast<unsigned char>(text[i]) ^ 0x80u;
    if (more >= 0x40) return 0;
    character = character << 6 | more;
  }
  // Neither longer than it need be (of two bytes: seen above), nor a surrogate, nor beyond the last.
  const bool shortest = size == 2 || character >= 1u << (5 * size - 4);
  return shortest && character >> 11 != 0xd800 >> 11 && character <= 0x10ffff ? size : 0;
}

char* write_utf8(char* to, uint32_t character) noexcept {
  unsigned more = character < 0x80 ? 0 : character < 0x800 ? 6 : character < 0x10000 ? 12 : 18;
  *to++ = static_cast<char>((more == 0 ? 0 : 0xff80 >> (more / 6)) | character >> more);
  while (more > 0) *to++ = static_cast<char>(0x80 | (character >> (more -= 6) & 0x3f));
  return to;
}

}  // namespace poireau
