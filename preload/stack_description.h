#pragma once
#include <cstddef>
#include <cstdint>

/// What a loaded file's tables (.eh_frame_hdr, .eh_frame) say of the code at an address.
namespace poireau::stack {

/// Reads what DWARF writes; beyond the end everything is 0.
class Reader {
 public:
  Reader() = default;
  Reader(const uint8_t* at, const uint8_t* end) noexcept : at_(at), end_(end) {}

  [[nodiscard]] bool done() const noexcept { return at_ >= end_; }
  uint8_t byte() noexcept { return done() ? uint8_t{0} : *at_++; }
  /// Of that many bytes, 8 at most.
  uint64_t fixed(size_t size) noexcept;
  uint64_t number() noexcept;
  int64_t signed_number() noexcept;
  void skip(uint64_t size) noexcept;
  /// The next `size` bytes, which it skips.
  Reader part(uint64_t size) noexcept;

 private:
  const uint8_t* at_ = nullptr;
  const uint8_t* end_ = nullptr;
};

/// How the frames of a piece of code are laid out: two programs for DWARF's machine, run one after the other.
struct Description {
  const void* entry = nullptr;  // the FDE
  uintptr_t begin = 0;          // of the code
  uint64_t code_unit = 0;
  int64_t data_unit = 0;
  uint64_t return_address = 0;  // the register that stands for it
  bool is_signals = false;      // code that returns from a signal handler
  Reader common, own;
};

enum class Described {
  yes,
  no,       // by its file's tables
  no_file,  // it may be code that the program has made
  unknown,  // the tables are of a kind that we don't read
};
[[nodiscard]] Described describe(uintptr_t pc, Description& out) noexcept;

}  // namespace poireau::stack
