#pragma once
#include <cstdint>
#include <string_view>

#include "preload/base/sys.h"

/// Numbers that the kernel gives as text.
namespace poireau::tracked_alloc::proc {

/// Finds the `nth` number, from 0, behind the first `label` of a text that comes in pieces.
class Search {
 public:
  Search(std::string_view label, int nth) noexcept : label_(label), left_(nth) {}

  /// Whether the number is complete.
  bool add(char c) noexcept {
    if (matched_ < label_.size()) {
      matched_ = c == label_[matched_] ? matched_ + 1 : c == label_[0];
      return false;
    }
    const bool digit = c >= '0' && c <= '9';
    if (digit) number_ = number_ * 10 + static_cast<uint64_t>(c - '0');
    if (!digit && inside_) {
      if (left_-- == 0) return true;
      number_ = 0;
    }
    inside_ = digit;
    return false;
  }
  [[nodiscard]] uint64_t number() const noexcept { return number_; }

 private:
  const std::string_view label_;
  int left_;
  size_t matched_ = 0;
  bool inside_ = false;
  uint64_t number_ = 0;
};

/// False: the file can't be read, or holds no such number.
[[nodiscard]] inline bool read_number(const char* path, std::string_view label, int nth, uint64_t& out) noexcept {
  const int file = sys::open_to_read(path);
  if (file < 0) return false;
  Search search(label, nth);
  char piece[512];
  bool found = false;
  for (int64_t size; !found && (size = sys::read(file, piece)) > 0;)
    for (int64_t i = 0; i < size && !found; ++i) found = search.add(piece[i]);
  sys::close(file);
  if (found) out = search.number();
  return found;
}

}  // namespace poireau::tracked_alloc::proc
