#pragma once
#include <utility>

#include "preload/base/sys.h"

namespace poireau::trace {

/// A directory that is open for as long as this is there.
class Directory {
 public:
  Directory(int at, const char* name, sys::Links links = sys::Links::refuse) noexcept
      : descriptor_(sys::open_directory(at, name, links)),
        error_(descriptor_ < 0 ? -descriptor_ : sys::entry_info(descriptor_, "", info_)) {}
  explicit Directory(int error) noexcept : descriptor_(-1), error_(error) {}
  Directory(Directory&& other) noexcept : info_(other.info_), descriptor_(other.release()), error_(other.error_) {}
  Directory& operator=(Directory&& other) noexcept {
    std::swap(info_, other.info_);
    std::swap(descriptor_, other.descriptor_);
    std::swap(error_, other.error_);
    return *this;
  }
  ~Directory() {
    if (descriptor_ >= 0) sys::close(descriptor_);
  }

  /// 0: it is open, and `info` says what it is.
  [[nodiscard]] int error() const noexcept { return error_; }
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }
  [[nodiscard]] const sys::EntryInfo& info() const noexcept { return info_; }
  [[nodiscard]] int release() noexcept { return std::exchange(descriptor_, -1); }

 private:
  sys::EntryInfo info_{};
  int descriptor_, error_;
};

}  // namespace poireau::trace
