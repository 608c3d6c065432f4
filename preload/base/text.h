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

constexpr size_t kMostDigits = 20;
/// Writes `number`, in a base up to 16 and without leading zeros. Returns what follows it.
char* write_number(char* to, uint64_t number, unsigned base = 10) noexcept;
/// The number that is all of `text`. False: it isn't one, or more than `most`.
[[nodiscard]] bool read_number(std::string_view text, unsigned base, uint64_t most, uint64_t& out) noexcept;

/// The last part of a path.
std::string_view base_name(std::string_view path) noexcept;

}  // namespace poireau
