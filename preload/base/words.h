#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace poireau {

/// A list of texts without a pointer in it: those the loader relocates, and every process pays for the pages.
template <size_t kCount, size_t kRoom>
class Words {
 public:
  consteval explicit Words(const std::string_view (&list)[kCount]) {
    for (size_t i = 0; i < kCount; ++i) {
      const std::string_view* const same = std::find(list, list + i, list[i]);
      sizes_[i] = static_cast<uint8_t>(list[i].size());
      begins_[i] = same != list + i ? begins_[same - list] : static_cast<uint16_t>(used_);
      if (same != list + i) continue;
      if (list[i].size() > UINT8_MAX || used_ > UINT16_MAX) __builtin_trap();  // does not compile
      if (kRoom != 0) std::copy(list[i].begin(), list[i].end(), text_.begin() + used_);
      used_ += list[i].size() + 1;
    }
  }
  /// It ends with a \0 that is not counted. Empty when the list is shorter.
  constexpr std::string_view operator[](size_t i) const noexcept {
    return i < kCount ? std::string_view(text_.data() + begins_[i], sizes_[i]) : std::string_view();
  }
  static constexpr size_t size() noexcept { return kCount; }
  consteval size_t used() const { return used_; }

 private:
  std::array<char, kRoom> text_{};
  std::array<uint16_t, kCount> begins_{};
  std::array<uint8_t, kCount> sizes_{};
  size_t used_ = 0;
};

/// The same as `list`, which is then in nobody's memory.
template <const auto& list>
inline constexpr auto kWords = Words<std::size(list), Words<std::size(list), 0>(list).used()>(list);

}  // namespace poireau
