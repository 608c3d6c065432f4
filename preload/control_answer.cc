#include "preload/control_answer.h"

#include <algorithm>

#include "preload/base/text.h"
#include "preload/base/utf8.h"

namespace poireau::control {

Answer& Answer::text(std::string_view name, std::string_view value) noexcept {
  next(name);
  put_text(value);
  return *this;
}

Answer& Answer::number(std::string_view name, uint64_t value) noexcept {
  char digits[kMostDigits];
  next(name);
  put({digits, write_number(digits, value)});
  return *this;
}

Answer& Answer::truth(std::string_view name, bool value) noexcept {
  next(name);
  put(value ? "true" : "false");
  return *this;
}

Answer& Answer::begin(std::string_view name, char bracket) noexcept {
  next(name);
  if (depth_ == kMostDepth) gone_ = true;
  if (gone_) return *this;
  put(bracket);
  const uint32_t bit = 1u << depth_++;
  lists_ = bracket == '[' ? lists_ | bit : lists_ & ~bit;
  first_ = true;
  return *this;
}

Answer& Answer::end() noexcept {
  if (depth_ == 0) return *this;
  put(lists_ >> --depth_ & 1 ? ']' : '}');
  first_ = false;
  return *this;
}

bool Answer::finish() noexcept {
  while (depth_ > 0) end();
  put('\n');
  flush();
  first_ = true;
  return !gone_;
}

void Answer::next(std::string_view name) noexcept {
  if (!first_) put(',');
  first_ = false;
  if (depth_ == 0 || lists_ >> (depth_ - 1) & 1) return;
  put_text(name);
  put(':');
}

void Answer::put_text(std::string_view text) noexcept {
  put('"');
  while (!text.empty() && !gone_) {
    const size_t size = utf8_size(text);
    const auto byte = static_cast<unsigned char>(text[0]);
    if (size == 0 || is_control(byte)) {
      put(size == 0 ? "\\udc" : "\\u00");
      put("0123456789abcdef"[byte >> 4]);
      put("0123456789abcdef"[byte & 15]);
    } else {
      if (byte == '"' || byte == '\\') put('\\');
      put(text.substr(0, size));
    }
    text.remove_prefix(std::max<size_t>(size, 1));
  }
  put('"');
}

void Answer::put(std::string_view text) noexcept {
  for (const char c : text) put(c);
}

void Answer::put(char c) noexcept {
  if (used_ == room_.size()) flush();
  if (!gone_) room_[used_++] = c;
}

void Answer::flush() noexcept {
  if (!gone_) gone_ = !send_(to_, {room_.data(), used_});
  used_ = 0;
}

}  // namespace poireau::control
