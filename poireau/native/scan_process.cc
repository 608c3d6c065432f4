#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <mutex>

#include "poireau/native/scan_memory.h"

namespace poireau::scan {
namespace {

constexpr size_t kPiecesAtOnce = 64;
constexpr size_t kEntriesAtOnce = 1 << 16;
constexpr uint64_t kMostAddresses = uint64_t{256} << 30;  // of a range whose every page must be asked for

// linux/fs.h has these since 6.7, and PAGE_IS_GUARD since 6.15.
struct PageRegion {
  uint64_t begin, end, categories;
};
struct PageScan {
  uint64_t size, flags, begin, end, walk_end, regions, room, most_pages;
  uint64_t inverted, all_of, any_of, wanted;
};
constexpr unsigned long kScanPages = _IOWR('f', 16, PageScan);
constexpr uint64_t kFile = 1 << 2, kPresent = 1 << 3, kSwapped = 1 << 4, kZero = 1 << 5, kGuard = 1 << 8;

class Process : public Memory {
 public:
  Process(int pid, bool plain) : pid_(pid), asks_(!plain) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/pagemap", pid);
    pagemap_ = ::open(name, O_RDONLY | O_CLOEXEC);
    if (pagemap_ < 0) error_ = errno;
  }
  ~Process() override {
    if (pagemap_ >= 0) ::close(pagemap_);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  [[nodiscard]] bool gone() const override { return gone_.load(std::memory_order_relaxed); }

  void present(const Range& range, std::vector<Piece>& out) override {
    if (asks_ && scan_pages(range, out)) return;
    asks_ = false;
    read_pagemap(range, out);
  }

  void read(std::span<const Piece> pieces, const Visit& visit) override {
    static thread_local std::unique_ptr<char[]> buffer;
    if (buffer == nullptr) buffer = std::make_unique<char[]>(kMostPiece);
    while (!pieces.empty() && !gone()) {
      iovec there[kPiecesAtOnce];
      size_t count = 0, size = 0;
      while (count < std::min(pieces.size(), kPiecesAtOnce) && size + pieces[count].size <= kMostPiece) {
        there[count] = {reinterpret_cast<void*>(pieces[count].begin), pieces[count].size};
        size += pieces[count++].size;
      }
      const size_t got = transfer(buffer.get(), size, {there, count});
      size_t at = 0, done = 0;
      for (; done < count && at + pieces[done].size <= got; at += pieces[done++].size)
        visit(pieces[done], buffer.get() + at, pieces[done].size);
      if (done < count) read_pages(pieces[done++], buffer.get(), visit);
      pieces = pieces.subspan(done);
    }
  }

 private:
  size_t transfer(char* to, size_t size, std::span<const iovec> there) {
    const iovec here{to, size};
    const ssize_t got = process_vm_readv(pid_, &here, 1, there.data(), there.size(), 0);
    if (got >= 0) return static_cast<size_t>(got);
    if (errno == ESRCH) gone_.store(true, std::memory_order_relaxed);
    return 0;
  }

  /// Some of them can't be read: guards, devices, what has been unmapped.
  void read_pages(const Piece& piece, char* buffer, const Visit& visit) {
    for (uint64_t at = piece.begin, end = piece.begin + piece.size; at < end && !gone();) {
      const uint64_t upto = std::min(end, (at / kPage + 1) * kPage);
      const iovec there{reinterpret_cast<void*>(at), upto - at};
      if (transfer(buffer, upto - at, {&there, 1}) == upto - at) visit({at, upto - at, piece.block}, buffer, upto - at);
      at = upto;
    }
  }

  void take(uint64_t begin, uint64_t end, bool swapped, std::vector<Piece>& out) {
    if (swapped && swapped_ + (end - begin) > kMostSwapped) {
      left_swapped_ += end - begin;
      return;
    }
    if (swapped) swapped_ += end - begin;
    add(begin, end, out);
  }

  bool scan_pages(const Range& range, std::vector<Piece>& out) {
    const uint64_t not_these = (range.how & poireau_scan_shared) != 0 ? 0 : kFile | kZero;
    PageRegion regions[512];
    PageScan scan{.size = sizeof scan,
                  .flags = 0,
                  .begin = range.begin,
                  .end = range.end,
                  .walk_end = 0,
                  .regions = reinterpret_cast<uint64_t>(regions),
                  .room = std::size(regions),
                  .most_pages = 0,
                  .inverted = not_these | guard_,
                  .all_of = not_these | guard_,
                  .any_of = kPresent | kSwapped,
                  .wanted = kPresent | kSwapped};
    while (scan.begin < scan.end) {
      int got = ioctl(pagemap_, kScanPages, &scan);
      if (got < 0 && errno == EINVAL && guard_ != 0) {
        scan.inverted = scan.all_of = not_these;
        guard_ = 0;
        continue;
      }
      if (got < 0) return errno != ENOTTY && errno != EINVAL && errno != ENOSYS;  // ESRCH: it has no memory any more
      for (int i = 0; i < got; ++i)
        take(regions[i].begin, regions[i].end, (regions[i].categories & kSwapped) != 0, out);
      scan.begin = scan.walk_end;
    }
    return true;
  }

  /// Before Linux 6.7.
  void read_pagemap(const Range& range, std::vector<Piece>& out) {
    constexpr uint64_t kHere = uint64_t{1} << 63, kAway = uint64_t{1} << 62, kOfFile = uint64_t{1} << 61;
    if (range.end - range.begin > kMostAddresses) {
      too_wide_ += range.end - range.begin;
      return;
    }
    std::vector<uint64_t> entries(kEntriesAtOnce);
    for (uint64_t at = range.begin; at < range.end;) {
      const size_t pages = std::min<uint64_t>((range.end - at) / kPage, entries.size());
      const ssize_t got = pread(pagemap_, entries.data(), pages * 8, static_cast<off_t>(at / kPage * 8));
      if (got <= 0) return;
      const size_t count = static_cast<size_t>(got) / 8;
      const auto kind = [&](size_t i) {
        if (i == count || (entries[i] & (kHere | kAway)) == 0) return 0;
        if ((entries[i] & kOfFile) != 0 && (range.how & poireau_scan_shared) == 0) return 0;
        return (entries[i] & kAway) != 0 ? 2 : 1;
      };
      for (size_t first = 0, i = 0; i < count; first = i) {
        while (i < count && kind(i) == kind(first)) ++i;
        if (kind(first) != 0) take(at + first * kPage, at + i * kPage, kind(first) == 2, out);
      }
      at += count * kPage;
    }
  }

  int pid_, pagemap_ = -1;
  bool asks_;  // for ranges, rather than pages
  std::atomic<bool> gone_{false};
  uint64_t guard_ = kGuard, swapped_ = 0;
};

}  // namespace

std::unique_ptr<Memory> open_process(int pid, bool plain) { return std::make_unique<Process>(pid, plain); }

}  // namespace poireau::scan
