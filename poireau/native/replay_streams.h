#pragma once
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace poireau::replay {

/// What comes from a descriptor, in pieces. Throws what the system says.
class Input {
 public:
  explicit Input(int file) : file_(file), room_(1 << 20) {}
  /// False: there is no more.
  bool take(void* to, size_t size) {
    auto* out = static_cast<char*>(to);
    while (size != 0) {
      if (at_ == end_ && !fill()) return false;
      const size_t part = std::min(size, end_ - at_);
      std::memcpy(out, room_.data() + at_, part);
      at_ += part;
      out += part;
      size -= part;
    }
    return true;
  }
  std::string text(uint64_t size) {
    std::string out(std::min<uint64_t>(size, 1 << 24), '\0');
    if (out.size() != size || !take(out.data(), out.size())) throw std::runtime_error("what it was given breaks off");
    return out;
  }

 private:
  bool fill() {
    ssize_t got;
    while ((got = read(file_, room_.data(), room_.size())) < 0)
      if (errno != EINTR) throw std::runtime_error(std::strerror(errno));
    at_ = 0;
    end_ = static_cast<size_t>(got);
    return got > 0;
  }
  int file_;
  std::vector<char> room_;
  size_t at_ = 0, end_ = 0;
};

/// What goes to a descriptor, and how much of it there was. Throws what the system says.
class Output {
 public:
  explicit Output(int file) : file_(file) {}
  void put(const void* from, size_t size) {
    const auto* at = static_cast<const char*>(from);
    written_ += size;
    while (size != 0) {
      const ssize_t done = write(file_, at, size);
      if (done < 0 && errno == EINTR) continue;
      if (done <= 0) throw std::runtime_error(std::strerror(errno));
      at += done;
      size -= static_cast<size_t>(done);
    }
  }
  template <typename Value>
  void put(const Value& value) {
    put(&value, sizeof value);
  }
  [[nodiscard]] uint64_t written() const { return written_; }

 private:
  int file_;
  uint64_t written_ = 0;
};

}  // namespace poireau::replay
