#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace poireau {

/// One line of text, built without heap, stdio or locale; what does not fit is cut.
class Text {
 public:
  Text& operator<<(std::string_view text) noexcept;
  Text& operator<<(uint64_t number) noexcept;
  /// Bytes as people write them: 512KiB, 32MiB, 1000.
  Text& bytes(uint64_t size) noexcept;
  [[nodiscard]] std::string_view view() const noexcept { return {data_.data(), size_}; }

 private:
  std::array<char, 500> data_;
  size_t size_ = 0;
};

/// The last part of a path.
std::string_view base_name(std::string_view path) noexcept;

}  // namespace poireau
