#include "preload/trace_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>

#include "preload/base/text.h"

namespace poireau::trace {
namespace {

constexpr size_t kPiece = 4096;                                   // the most that is written of events at once
[[gnu::section(".lbss")]] constinit char kZeros[ctf::kPacket]{};  // read only

class Descriptor {
 public:
  explicit Descriptor(int got) noexcept : got_(got) {}
  ~Descriptor() {
    if (got_ >= 0) sys::close(got_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int error() const noexcept { return got_ < 0 ? -got_ : 0; }
  operator int() const noexcept { return got_; }

 private:
  int got_;
};

/// The directory. Should the program have closed 0, 1 or 2, they are taken too, and can't be written to: what it has
/// for standard error would end up in the file that we are about to open.
class OpenPlace {
 public:
  explicit OpenPlace(const Place& place) noexcept {
    do held_[count_] = open_place(place);
    while (held_[count_++] <= STDERR_FILENO && held_[count_ - 1] >= 0 && count_ < std::size(held_));
  }
  ~OpenPlace() {
    while (count_-- > 0)
      if (held_[count_] >= 0) sys::close(held_[count_]);
  }
  OpenPlace(const OpenPlace&) = delete;
  OpenPlace& operator=(const OpenPlace&) = delete;
  [[nodiscard]] int error() const noexcept { return *this < 0 ? -*this : 0; }
  operator int() const noexcept { return held_[count_ - 1]; }

 private:
  int held_[STDERR_FILENO + 2];
  size_t count_ = 0;
};

/// A limit that can't be read is none: the kernel has just answered other calls.
bool allowed(uint64_t size) noexcept {
  uint64_t limit;
  return !sys::limit_of(sys::Limit::file_size, limit) || size <= limit;
}

int write_pieces(int file, uint64_t offset, std::string_view bytes) noexcept {
  for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), kPiece)), offset += kPiece)
    if (const int error = sys::write_at(file, offset, bytes.substr(0, kPiece)); error != 0) return error;
  return 0;
}

int make_file(int directory, const FileName& name) noexcept {
  const int got = sys::open_file(directory, name.c_str(), sys::Making::new_one);
  if (got != -EEXIST) return got;
  static_cast<void>(sys::remove_file(directory, name.c_str()));  // left behind by an attempt that failed
  return sys::open_file(directory, name.c_str(), sys::Making::new_one);
}

template <typename Value>
std::string_view bytes_of(const Value& value) noexcept {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

FileName::FileName(std::string_view stem, uint32_t number, Seen seen) noexcept {
  constexpr size_t kDigits = 12;
  char* end = text_.data();
  if (seen == Seen::hidden) *end++ = '.';
  end = std::copy_n(stem.data(), std::min(stem.size(), text_.size() - kDigits - 2), end);
  if (number == 0) return;
  *end++ = '_';
  write_number(end, number);
}

int add_packet(const Place& place, const FileName& name, uint32_t index, const ctf::PacketHeader& header,
               bool certain) noexcept {
  const uint64_t offset = uint64_t{index} * ctf::kPacket;
  if (!allowed(offset + ctf::kPacket)) return EFBIG;
  const OpenPlace directory(place);
  if (directory < 0) return directory.error();
  const Descriptor file(index == 0 ? make_file(directory, name)
                                   : sys::open_file(directory, name.c_str(), sys::Making::existing));
  if (file < 0) return file.error();
  int error = sys::allocate(file, offset, ctf::kPacket);
  if (error == EOPNOTSUPP && !certain) error = sys::resize(file, offset + ctf::kPacket);
  // Pages that are in memory in one piece cost a mapping a tenth of what sixteen faults on new ones do.
  if (error == 0 && certain) error = sys::write_at(file, offset, {kZeros, sizeof kZeros});
  if (error == 0) error = sys::write_at(file, offset, bytes_of(header));
  if (error != 0) static_cast<void>(index == 0 ? sys::remove_file(directory, name.c_str()) : sys::resize(file, offset));
  return error;
}

int publish(const Place& place, const FileName& from, const FileName& to, uint32_t packets, char** mapping) noexcept {
  const OpenPlace directory(place);
  if (directory < 0) return directory.error();
  const Descriptor file(sys::open_file(directory, from.c_str(), sys::Making::existing));
  if (file < 0) return file.error();
  const size_t size = packets * ctf::kPacket;
  sys::FileInfo info;
  if (!sys::file_info(file, info)) return ENOMEM;
  if (info.size < size) return ENOENT;  // not the file that was built
  // Half a packet at the end makes readers refuse the whole file.
  if (info.size > size)
    if (const int error = sys::resize(file, size); error != 0) return error;
  void* const got = mapping == nullptr ? nullptr : sys::map_file(file, size);
  if (mapping != nullptr && got == nullptr) return ENOMEM;
  const int error = sys::rename_file(directory, from.c_str(), to.c_str());
  if (error != 0 && got != nullptr) sys::unmap(got, size);
  if (error == 0 && got != nullptr) *mapping = static_cast<char*>(got);
  return error;
}

int write_events(const Place& place, const FileName& name, uint32_t index, const char* packet, size_t from,
                 size_t to) noexcept {
  const uint64_t offset = uint64_t{index} * ctf::kPacket;
  if (!allowed(offset + to)) return EFBIG;
  const OpenPlace directory(place);
  if (directory < 0) return directory.error();
  const Descriptor file(sys::open_file(directory, name.c_str(), sys::Making::existing));
  if (file < 0) return file.error();
  if (const int error = write_pieces(file, offset + from, {packet + from, to - from}); error != 0) return error;
  return sys::write_at(file, offset + offsetof(ctf::PacketHeader, content_bits), bytes_of(uint64_t{to} * 8));
}

int remove(const Place& place, const FileName& name, uint64_t* size) noexcept {
  const OpenPlace directory(place);
  if (directory < 0) return directory.error();
  sys::EntryInfo info;
  if (size != nullptr && sys::entry_info(directory, name.c_str(), info) == 0) *size = info.blocks * 512;
  return sys::remove_file(directory, name.c_str());
}

int write_whole(const Place& place, std::string_view name, std::string_view content) noexcept {
  if (!allowed(content.size())) return EFBIG;
  const FileName hidden(name, 0, FileName::Seen::hidden), seen(name, 0);
  const OpenPlace directory(place);
  if (directory < 0) return directory.error();
  const Descriptor file(make_file(directory, hidden));
  if (file < 0) return file.error();
  int error = write_pieces(file, 0, content);
  if (error == 0) error = sys::rename_file(directory, hidden.c_str(), seen.c_str());
  if (error != 0) static_cast<void>(sys::remove_file(directory, hidden.c_str()));
  return error;
}

}  // namespace poireau::trace
