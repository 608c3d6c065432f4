#include "preload/base/text.h"

#include <algorithm>

namespace poireau {

Text& Text::operator<<(std::string_view text) noexcept {
  const size_t fits = std::min(text.size(), data_.size() - size_);
  std::copy_n(text.data(), fits, data_.data() + size_);
  size_ += fits;
  return *this;
}

Text& Text::operator<<(uint64_t number) noexcept {
  char digits[kMostDigits];
  return *this << std::string_view(digits, static_cast<size_t>(write_number(digits, number) - digits));
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

char* write_number(char* to, uint64_t number, unsigned base) noexcept {
  for (uint64_t rest = number; rest >= base; rest /= base) ++to;
  char* const end = to + 1;
  do *to-- = "0123456789abcdef"[number % base];
  while ((number /= base) != 0);
  return end;
}

bool read_number(std::string_view text, unsigned base, uint64_t most, uint64_t& out) noexcept {
  out = 0;
  for (const char c : text) {
    const unsigned digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10u : base;
    if (digit >= base || out > (most - digit) / base) return false;
    out = out * base + digit;
  }
  return !text.empty();
}

std::string_view base_name(std::string_view path) noexcept {
  path.remove_prefix(path.rfind('/') + 1);  // npos + 1 == 0: the whole
  return path;
}

}  // namespace poireau
