#include "preload/base/utf8.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace poireau {
namespace {

constexpr uint32_t kLast = 0x10ffff;

bool is_surrogate(uint32_t character) { return character >= 0xd800 && character <= 0xdfff; }

std::string written(uint32_t character) {
  char room[4];
  return {room, write_utf8(room, character)};
}

TEST(Utf8, EveryCharacterIsRecognizedButSurrogates) {
  for (uint32_t character = 0; character <= kLast; ++character) {
    const std::string text = written(character);
    ASSERT_EQ(text.size(), character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4) << character;
    ASSERT_EQ(utf8_size(text + "\x80"), is_surrogate(character) ? 0 : text.size()) << character;
    for (size_t size = 0; size < text.size(); ++size) ASSERT_EQ(utf8_size(text.substr(0, size)), 0u) << character;
  }
}

TEST(Utf8, NothingElseIsRecognized) {
  std::set<std::string> valid;
  for (uint32_t character = 0; character <= kLast; ++character)
    if (!is_surrogate(character)) valid.insert(written(character));
  // Whatever begins with a byte, then bytes from either side of each border.
  constexpr std::string_view kMore("\x00\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xff", 10);
  for (int first = 0; first < 256; ++first)
    for (const char second : kMore)
      for (const char third : kMore)
        for (const char fourth : kMore) {
          const std::string text{static_cast<char>(first), second, third, fourth};
          size_t size = 4;
          while (size > 0 && valid.count(text.substr(0, size)) == 0) --size;
          ASSERT_EQ(utf8_size(text), size) << testing::PrintToString(text);
        }
}

}  // namespace
}  // namespace poireau
