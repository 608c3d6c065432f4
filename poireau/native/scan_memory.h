#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "poireau/native/scan.h"

/// Somebody else's memory: a process's as it runs, or what a core holds of one's.
namespace poireau::scan {

using Range = PoireauScanRange;

struct Piece {
  uint64_t begin, size;
  uint32_t block;  // whose bytes these are; kNoBlock: nobody's
};
constexpr uint32_t kNoBlock = UINT32_MAX;
constexpr size_t kPage = 4096;
constexpr size_t kMostPiece = 256 << 10;
constexpr uint64_t kMostSwapped = 256 << 20;  // bytes that are brought back to be read

class Memory {
 public:
  using Visit = std::function<void(const Piece& piece, const char* data, size_t size)>;

  virtual ~Memory() = default;
  /// Adds what is there of the range, in pieces of at most kMostPiece, the last word of one begins the next. Of a
  /// process: what it has in memory or swap.
  virtual void present(const Range& range, std::vector<Piece>& out) = 0;
  /// Visits the pieces, as far as they can be read; a piece may come in parts. Any thread.
  virtual void read(std::span<const Piece> pieces, const Visit& visit) = 0;

  [[nodiscard]] virtual bool gone() const { return false; }
  [[nodiscard]] int error() const { return error_; }
  [[nodiscard]] uint64_t swapped() const { return left_swapped_; }
  [[nodiscard]] uint64_t too_wide() const { return too_wide_; }

 protected:
  static void add(uint64_t begin, uint64_t end, std::vector<Piece>& out);

  int error_ = 0;
  uint64_t left_swapped_ = 0, too_wide_ = 0;
};

[[nodiscard]] std::unique_ptr<Memory> open_process(int pid, bool plain);
[[nodiscard]] std::unique_ptr<Memory> open_core(const char* path, std::vector<PoireauScanSegment> segments);

}  // namespace poireau::scan
