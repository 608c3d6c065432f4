#pragma once
#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "poireau/native/scan.h"
#include "poireau/native/scan_memory.h"

/// The sampled blocks that are alive in what is read, and which of them an address is in.
namespace poireau::scan {

class Blocks {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  /// By their records in these mappings.
  void find(Memory& memory, const std::vector<Range>& homes);
  /// The block that has the byte at `address`; kNone: there is none. A block without bytes has one.
  [[nodiscard]] uint32_t at(uint64_t address) const;
  [[nodiscard]] const std::vector<PoireauScanBlock>& all() const { return blocks_; }
  [[nodiscard]] std::vector<PoireauScanBlock>& all() { return blocks_; }
  /// Other live blocks with homes of their own, protected and no samples: whoever they point at is reached.
  [[nodiscard]] const std::vector<Range>& others() const { return others_; }
  /// The records are not as this version of the library has them: there are no blocks then.
  [[nodiscard]] bool strange() const { return strange_; }

 private:
  struct Row {
    uint32_t begin, end;
  };
  void sort();
  [[nodiscard]] bool has(uint32_t block, uint64_t address) const;

  std::vector<PoireauScanBlock> blocks_;      // by address
  std::vector<Range> others_;                 // in whole pages
  std::unordered_map<uint64_t, Row> chunks_;  // of each chunk, the blocks that begin in it
  bool strange_ = false;
  std::vector<uint32_t> wide_;  // blocks that end in another chunk than they begin in
};

}  // namespace poireau::scan
