#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "poireau/native/scan_memory.h"
#include "poireau/native/scan_words.h"

namespace poireau::scan {
namespace {

/// A file cut short holds what there is of it.
class Core : public Memory {
 public:
  Core(const char* path, std::vector<PoireauScanSegment> segments) : segments_(std::move(segments)) {
    const int file = ::open(path, O_RDONLY | O_CLOEXEC);
    struct stat status {};
    if (file < 0 || fstat(file, &status) != 0) {
      error_ = errno;
    } else if (size_ = static_cast<uint64_t>(status.st_size); size_ != 0) {
      void* const got = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
      if (got == MAP_FAILED)
        error_ = errno;
      else
        data_ = static_cast<const char*>(got);
    }
    if (file >= 0) ::close(file);
    if (data_ == nullptr) segments_.clear();
    for (PoireauScanSegment& segment : segments_)
      segment.size = segment.offset >= size_ ? 0 : std::min(segment.size, size_ - segment.offset);
    std::ranges::sort(segments_, {}, &PoireauScanSegment::address);
  }
  ~Core() override {
    if (data_ != nullptr) munmap(const_cast<char*>(data_), size_);
  }
  Core(const Core&) = delete;
  Core& operator=(const Core&) = delete;

  void present(const Range& range, std::vector<Piece>& out) override {
    for (const PoireauScanSegment& segment : segments_) {
      const uint64_t begin = std::max(range.begin, segment.address);
      const uint64_t end = std::min(range.end, segment.address + segment.size);
      if (begin < end) add(begin, end, out);
    }
  }

  void read(std::span<const Piece> pieces, const Visit& visit) override {
    for (const Piece& piece : pieces) {
      const auto after = std::ranges::upper_bound(segments_, piece.begin, {}, &PoireauScanSegment::address);
      if (after == segments_.begin()) continue;
      const PoireauScanSegment& segment = after[-1];
      const uint64_t inside = piece.begin - segment.address;
      if (inside >= segment.size) continue;
      visit(piece, data_ + segment.offset + inside, std::min(piece.size, segment.size - inside));
    }
  }

 private:
  std::vector<PoireauScanSegment> segments_;  // by address
  const char* data_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace

void Memory::add(uint64_t begin, uint64_t end, std::vector<Piece>& out) {
  while (true) {
    const uint64_t size = std::min<uint64_t>(end - begin, kMostPiece);
    out.push_back({begin, size, kNoBlock});
    if (begin + size == end) return;
    begin += size - kStep;
  }
}

std::unique_ptr<Memory> open_core(const char* path, std::vector<PoireauScanSegment> segments) {
  return std::make_unique<Core>(path, std::move(segments));
}

}  // namespace poireau::scan
