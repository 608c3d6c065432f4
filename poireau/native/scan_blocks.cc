#include "poireau/native/scan_blocks.h"

#include <algorithm>
#include <cstring>

#include "tracked_alloc/record.h"
#include "tracked_alloc/region.h"

namespace poireau::scan {
namespace {

using tracked_alloc::Record;
using tracked_alloc::State;
namespace region = tracked_alloc::region;

constexpr uint64_t kRecordsEnd = region::kRecords + (region::kGibArea + 1) * region::kTable;
constexpr size_t kIdBits = 40;  // an event's id: the block's number in its home above the home's (journal::number_of)

uint64_t end_of(const PoireauScanBlock& block) { return block.address + std::max<uint64_t>(block.size, 1); }

bool makes_sense(const PoireauScanBlock& block) {
  constexpr uint64_t kBegin = tracked_alloc::kRegion, kEnd = kBegin + tracked_alloc::kRegionSize;
  return block.address >= kBegin && block.address < kEnd && block.size <= kEnd - block.address;
}

/// Whether it says of a block, or of the last one, what such records do.
bool is_right(const Record& record) {
  constexpr uint64_t kBegin = tracked_alloc::kRegion, kEnd = kBegin + tracked_alloc::kRegionSize;
  const bool elsewhere = record.pages == 0;  // in a remapped home, which begins where the block does
  return record.home >= kBegin && record.home < kEnd && (elsewhere || record.home % kPage == 0) && record.uses != 0 &&
         record.address >= record.home && record.address - record.home <= uint64_t{record.pages} * kPage;
}

/// What is there begins and ends with a page: so no record is cut.
std::vector<Piece> without_overlap(const std::vector<Piece>& pieces) {
  std::vector<std::pair<uint64_t, uint64_t>> runs;
  for (const Piece& piece : pieces) {
    if (runs.empty() || piece.begin >= runs.back().second) runs.emplace_back(piece.begin, 0);
    runs.back().second = piece.begin + piece.size;
  }
  std::vector<Piece> whole;
  for (const auto& [begin, end] : runs)
    for (uint64_t at = begin; at < end; at += kMostPiece)
      whole.push_back({at, std::min<uint64_t>(end - at, kMostPiece), kNoBlock});
  return whole;
}

}  // namespace

void Blocks::find(Memory& memory, const std::vector<Range>& homes) {
  blocks_.clear();
  others_.clear();
  size_t right = 0, wrong = 0;
  for (Range range : homes) {
    range.begin = std::max<uint64_t>(range.begin, region::kRecords);
    range.end = std::min(range.end, kRecordsEnd);
    if (range.begin >= range.end) continue;
    std::vector<Piece> pieces;
    memory.present(range, pieces);
    pieces = without_overlap(pieces);
    memory.read(pieces, [&](const Piece& piece, const char* data, size_t size) {
      // Pieces share a word, so that one may begin in the middle of a record, which the one before has.
      const size_t first = (region::kRecords - piece.begin) % sizeof(Record);
      for (size_t at = first; at + sizeof(Record) <= size; at += sizeof(Record)) {
        alignas(Record) char copy[sizeof(Record)];
        memcpy(copy, data + at, sizeof copy);
        const Record& record = *reinterpret_cast<const Record*>(copy);
        switch (record.state()) {
          case State::absent:  // all zeros
            wrong += (record.address | record.home | record.uses | record.birth.time) != 0;
            break;
          case State::live:
          case State::freed:
          case State::idle:
            ++(is_right(record) ? right : wrong);
            break;
          case State::busy:
          case State::watched:
          case State::retired:
          case State::part:
            break;
          default:
            ++wrong;
        }
        if (!record.live()) continue;
        if (!is_sampled(record.birth)) {
          others_.push_back(
              {record.address & ~(kPage - 1), (record.address + record.size + kPage - 1) & ~(kPage - 1), 0});
          continue;
        }
        const uint64_t offset = piece.begin + at - region::kRecords;
        const uint64_t area = offset / region::kTable, index = offset % region::kTable / sizeof(Record);
        const PoireauScanBlock block{
            .address = record.address,
            .size = record.size,
            .id = uint64_t{record.uses} << kIdBits | area << 32 | index,
            .period = record.birth.period,
            .since = record.birth.since,
            .time = record.birth.time,
            .thread = record.birth.thread,
            .state = poireau_scan_unknown,
        };
        if (makes_sense(block)) blocks_.push_back(block);
      }
    });
  }
  strange_ = wrong > right;
  if (strange_) blocks_.clear();
  if (strange_) others_.clear();
  sort();
}

void Blocks::sort() {
  std::ranges::sort(blocks_, {}, &PoireauScanBlock::address);
  chunks_.clear();
  wide_.clear();
  for (uint32_t i = 0; i < blocks_.size(); ++i) {
    const uint64_t chunk = blocks_[i].address / region::kChunk;
    chunks_.try_emplace(chunk, Row{i, i}).first->second.end = i + 1;
    if ((end_of(blocks_[i]) - 1) / region::kChunk != chunk) wide_.push_back(i);
  }
}

bool Blocks::has(uint32_t block, uint64_t address) const {
  return address >= blocks_[block].address && address < end_of(blocks_[block]);
}

uint32_t Blocks::at(uint64_t address) const {
  const auto before = [this](uint64_t wanted, uint32_t block) { return wanted < blocks_[block].address; };
  if (const auto found = chunks_.find(address / region::kChunk); found != chunks_.end()) {
    uint32_t low = found->second.begin, high = found->second.end;
    while (low < high) {  // the first that begins behind it
      const uint32_t middle = low + (high - low) / 2;
      (blocks_[middle].address <= address ? low : high) = blocks_[middle].address <= address ? middle + 1 : middle;
    }
    if (low > 0 && has(low - 1, address)) return low - 1;
  }
  const auto after = std::upper_bound(wide_.begin(), wide_.end(), address, before);
  return after != wide_.begin() && has(after[-1], address) ? after[-1] : kNone;
}

}  // namespace poireau::scan
