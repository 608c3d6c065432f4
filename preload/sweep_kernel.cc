#include "preload/sweep_kernel.h"

#include <cstring>
#include <string_view>

#include "preload/base/sys.h"

namespace poireau::sweep {
namespace {

[[gnu::section(".lbss")]] constinit char entries[8192], piece[4096];

/// Finds the hexadecimal numbers behind a label, in a text that comes in pieces.
class Numbers {
 public:
  Numbers(std::string_view label, ShowWord show, void* to) noexcept : label_(label), show_(show), to_(to) {}
  void add(char c) noexcept {
    if (matched_ < label_.size()) {
      matched_ = c == label_[matched_] ? matched_ + 1 : c == label_[0];
      return;
    }
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit >= 0) {
      number_ = number_ * 16 + static_cast<uint64_t>(digit);
      inside_ = true;
    } else if (inside_ || c != ' ') {
      if (inside_) show_(to_, number_);
      matched_ = 0;
      number_ = 0;
      inside_ = false;
    }
  }

 private:
  const std::string_view label_;
  const ShowWord show_;
  void* const to_;
  size_t matched_ = 0;
  uint64_t number_ = 0;
  bool inside_ = false;
};

bool read_all(int file, Numbers numbers) noexcept {
  if (file < 0) return false;
  int64_t size;
  while ((size = sys::read(file, piece)) > 0)
    for (int64_t i = 0; i < size; ++i) numbers.add(piece[i]);
  sys::close(file);
  numbers.add('\n');
  return size == 0;
}

bool is_missing(int file) noexcept { return file == -2; }  // ENOENT

}  // namespace

Kept show_kept_by_kernel(ShowWord show, void* to) noexcept {
  Kept kept;
  const int descriptors = sys::open_directory(sys::kAnywhere, "/proc/self/fd");
  const int details = sys::open_directory(sys::kAnywhere, "/proc/self/fdinfo");
  kept.whole = descriptors >= 0 && details >= 0;
  int64_t size = 0;
  while (kept.whole && (size = sys::list(descriptors, entries)) > 0) {
    for (int64_t at = 0; at < size;) {
      uint16_t length;
      std::memcpy(&length, entries + at + 16, sizeof length);  // of a linux_dirent64, whose name is at 19
      char target[32];
      const std::string_view what = sys::read_link_in(descriptors, entries + at + 19, target);
      if (what == "anon_inode:[eventpoll]")
        kept.whole &= read_all(sys::open_to_read_in(details, entries + at + 19), {"data:", show, to});
      kept.watchers |= what == "anon_inode:[userfaultfd]";
      at += length;
    }
  }
  kept.whole &= size == 0;
  if (descriptors >= 0) sys::close(descriptors);
  if (details >= 0) sys::close(details);
  const int timers = sys::open_to_read("/proc/self/timers");
  if (!is_missing(timers)) kept.whole &= read_all(timers, {"/", show, to});  // signal: 14/00007f2a5c000b70
  return kept;
}

}  // namespace poireau::sweep
