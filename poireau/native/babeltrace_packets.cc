#include "poireau/native/babeltrace_packets.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace poireau::native::babeltrace {
namespace {

constexpr uint32_t kMagic = 0xc1fc1fc1;
constexpr uint64_t kLatest = uint64_t{1} << 62;  // libbabeltrace2 wants times to fit, a clock's offset added
constexpr size_t kPiece = 1 << 20;

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

class Checker {
 public:
  Checker(const Layout& layout, const fs::path& path, const File& file)
      : layout_(layout), path_(std::make_shared<const fs::path>(path)), file_(file) {}
  Checked check();

 private:
  bool packet(uint64_t at, Packet& out);
  bool read(uint64_t at, uint32_t size);
  [[nodiscard]] uint64_t number(const Number& of) const;
  [[nodiscard]] uint64_t next_start(uint64_t at) const;

  const Layout& layout_;
  const std::shared_ptr<const fs::path> path_;
  const File& file_;
  std::optional<uint64_t> stream_, instance_;  // all packets of a file are of one stream
  std::vector<char> header_;
};

bool Checker::read(uint64_t at, uint32_t size) {
  header_.resize(size);
  return file_.read(header_.data(), size, at) == size;
}

uint64_t Checker::number(const Number& of) const {
  uint64_t value = 0;
  for (uint32_t i = 0; i < of.size; ++i)
    value = value << 8 | static_cast<uint8_t>(header_[of.at + (of.big_endian ? i : of.size - 1 - i)]);
  return value;
}

bool Checker::packet(uint64_t at, Packet& out) {
  const uint64_t left = file_.size() - at;
  if (!read(at, layout_.bytes)) return false;
  if (layout_.magic && number(*layout_.magic) != kMagic) return false;
  if (layout_.uuid && layout_.uuid_at && std::memcmp(&header_[*layout_.uuid_at], layout_.uuid->data(), 16) != 0)
    return false;
  const uint64_t stream = layout_.stream_id ? number(*layout_.stream_id) : layout_.streams.begin()->first;
  const std::optional<uint64_t> instance = layout_.instance ? std::optional(number(*layout_.instance)) : std::nullopt;
  const auto found = layout_.streams.find(stream);
  if (found == layout_.streams.end()) return false;
  if (stream_ && (*stream_ != stream || instance_ != instance)) return false;
  const PacketLayout& layout = found->second;
  if (!read(at, layout.bytes)) return false;
  const uint64_t content = layout.content_size  ? number(*layout.content_size)
                           : layout.packet_size ? number(*layout.packet_size)
                                                : left * 8;
  const uint64_t size = layout.packet_size ? number(*layout.packet_size) : content;
  if (size == 0 || size % 8 != 0 || size / 8 > left || content > size || content < uint64_t{layout.bytes} * 8)
    return false;
  const uint64_t begin = layout.begin ? number(*layout.begin) : 0;
  if (begin >= kLatest || (layout.end && number(*layout.end) >= kLatest)) return false;
  stream_ = stream;
  instance_ = instance;
  out = {path_, at, size / 8, begin};
  return true;
}

/// Where the next bytes are that a packet begins with; the end of the file: there are none.
uint64_t Checker::next_start(uint64_t at) const {
  if (!layout_.uuid || !layout_.uuid_at) return file_.size();
  const auto& uuid = *layout_.uuid;
  std::vector<char> piece(kPiece);
  for (at += *layout_.uuid_at; at < file_.size();) {
    const size_t got = file_.read(piece.data(), piece.size(), at);
    if (got < uuid.size()) break;
    if (const void* found = memmem(piece.data(), got, uuid.data(), uuid.size()); found != nullptr)
      return at + static_cast<uint64_t>(static_cast<const char*>(found) - piece.data()) - *layout_.uuid_at;
    at += got - (uuid.size() - 1);
  }
  return file_.size();
}

Checked Checker::check() {
  Checked out;
  Packets packets;
  bool lost = false;
  for (uint64_t at = 0; at < file_.size();) {
    if (Packet good; packet(at, good)) {
      at += good.size;
      packets.push_back(std::move(good));
      lost = false;
    } else {
      out.damaged += lost ? 0 : 1;
      lost = true;
      at = next_start(at + 1);
    }
  }
  if (packets.empty()) return out;
  const std::string instance = instance_ ? std::to_string(*instance_) : path_->string();
  out.streams[std::to_string(*stream_) + " | " + instance] = std::move(packets);
  return out;
}

}  // namespace

File::File(const fs::path& path) : File(path, O_RDONLY) {}
File::File(const fs::path& path, int flags) : number_(open(path.c_str(), flags | O_CLOEXEC | O_NONBLOCK, 0600)) {
  struct stat about;
  if (number_ < 0 || fstat(number_, &about) != 0 || !S_ISREG(about.st_mode)) return;
  size_ = static_cast<uint64_t>(about.st_size);
  there_ = true;
}
File File::create(const fs::path& path) {
  File out(path, O_WRONLY | O_CREAT | O_EXCL);
  if (!out.there()) fail(path.c_str());
  return out;
}
File::~File() {
  if (number_ >= 0) close(number_);
}
File::File(File&& other) noexcept
    : number_(std::exchange(other.number_, -1)), size_(other.size_), there_(other.there_) {}

size_t File::read(char* to, size_t size, uint64_t at) const {
  size_t got = 0;
  while (got < size) {
    const ssize_t now = pread(number_, to + got, size - got, static_cast<off_t>(at + got));
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) break;
    got += static_cast<size_t>(now);
  }
  return got;
}

void File::append(const char* from, size_t size) const {
  while (size != 0) {
    const ssize_t now = write(number_, from, size);
    if (now < 0 && errno == EINTR) continue;
    if (now <= 0) fail("a copy of what is sound of a trace");
    from += now;
    size -= static_cast<size_t>(now);
  }
}

Checked check(const Layout& layout, const fs::path& path, const File& file) {
  return Checker(layout, path, file).check();
}

void copy(const Packet* begin, const Packet* end, const fs::path& to) {
  const File out = File::create(to);
  std::vector<char> piece(kPiece);
  for (; begin != end; ++begin) {
    const File from(*begin->file);
    for (uint64_t done = 0; done < begin->size;) {
      const size_t got = from.read(piece.data(), std::min<uint64_t>(kPiece, begin->size - done), begin->at + done);
      if (got == 0) throw std::runtime_error("a trace became shorter while it was read");
      out.append(piece.data(), got);
      done += got;
    }
  }
}

}  // namespace poireau::native::babeltrace
