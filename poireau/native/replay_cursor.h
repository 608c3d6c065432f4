#pragma once
#include <cstddef>
#include <cstdint>

#include "poireau/native/replay_state.h"

namespace poireau::replay {

/// Reads a thread's calls one after the other.
struct Cursor {
  uint32_t thread;
  uint64_t block, made;
  Decoder decoder;
  Call call;
  unsigned char* room;
  Cursor* next;  // free one

  /// False: that was the last one.
  [[nodiscard]] bool advance() noexcept;
};

/// The calls of threads `first`, `first + step`, ... in the order of their numbers.
class Cursors {
 public:
  static constexpr uint32_t kAll = UINT32_MAX / 2;  // the step of who wants one thread only

  Cursors(uint32_t first, uint32_t step) noexcept;
  /// The one whose call is next; nullptr: that was all. It is the caller's to advance.
  [[nodiscard]] Cursor* earliest() noexcept;
  /// The earliest has no more.
  void close() noexcept;
  [[nodiscard]] bool only_one() const noexcept { return step_ == kAll; }

 private:
  void sink() noexcept;
  Cursor* cursor_of(uint32_t thread) noexcept;

  uint32_t next_;  // thread to be opened
  const uint32_t step_, count_;
  Cursor *only_ = nullptr, *free_ = nullptr;
  Cursor** open_;  // a heap
  size_t size_ = 0;
};

}  // namespace poireau::replay
