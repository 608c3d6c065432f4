#include "preload/base/text.h"

#include <algorithm>
#include <charconv>

namespace poireau {

Text& Text::operator<<(std::string_view text) noexcept {
  const size_t fits = std::min(text.size(), data_.size() - size_);
  std::copy_n(text.data(), fits, data_.data() + size_);
  size_ += fits;
  return *this;
}

Text& Text::operator<<(uint64_t number) noexcept {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  return *this << std::string_view(digits, static_cast<size_t>(end - digits));
}

Text& Text::bytes(uint64_t size) noexcept {
  constexpr std::string_view kUnits[] = {"", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (size != 0 && size % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    size /= 1024;
    ++unit;
  }
  return *this << size << kUnits[unit];
}

std::string_view base_name(std::string_view path) noexcept {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 == 0: the whole
  return path;
}

}  // namespace poireau
