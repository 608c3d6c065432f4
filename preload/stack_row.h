#pragma once
#include <cstdint>

namespace poireau::stack {

/// How to step out of a frame, in 21 bits. The caller's stack pointer is worked out first; its return address lies
/// right below it.
struct Row {
  enum Kind : uint8_t {
    rsp,        // it is rsp + offset
    rbp,        // it is rbp + offset
    realigned,  // it lies at rbp - offset, the caller's rbp at rbp
    signal,     // a signal's frame, as the kernel lays it out
    end,        // nobody called it
    stray,      // nobody, as far as we know: code of no file. Not to be kept, a file may come there
    beyond,     // can't be said in a row
  };
  static constexpr unsigned kBits = 21, kKindBits = 3, kOffsetBits = 13, kSavedBits = 5;
  static constexpr uint64_t kMostOffset = 8 * ((1 << kOffsetBits) - 1), kMostSaved = 8 * ((1 << kSavedBits) - 1);
  static constexpr uint64_t kUnchanged = 8;  // where the return address lies, so no register can

  uint32_t bits = 0;

  /// `saved`: how far below the caller's stack pointer its rbp lies, or kUnchanged.
  static constexpr Row make(Kind kind, uint64_t offset = 0, uint64_t saved = kUnchanged) noexcept {
    return {static_cast<uint32_t>(uint64_t{kind} << (kOffsetBits + kSavedBits) | offset / 8 << kSavedBits | saved / 8)};
  }
  [[nodiscard]] constexpr Kind kind() const noexcept { return static_cast<Kind>(bits >> (kOffsetBits + kSavedBits)); }
  [[nodiscard]] constexpr uint64_t offset() const noexcept { return uint64_t{bits} >> (kSavedBits - 3) & kMostOffset; }
  [[nodiscard]] constexpr uint64_t saved() const noexcept { return uint64_t{bits} << 3 & kMostSaved; }
};

/// Where the kernel puts an interrupted thread's registers, from the stack pointer of who returns from the handler.
struct SignalFrame {
  static constexpr uint64_t kRbp = 120, kRsp = 160, kRip = 168, kSize = 176;
};

/// The row in force where the instruction at `pc` is about to be executed, as libgcc would have it.
[[nodiscard]] Row row_at(uintptr_t pc) noexcept;

}  // namespace poireau::stack
