#include "poireau/native/replay_calls.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

namespace poireau::replay {
namespace {

constexpr char kDamaged[] = "it is damaged";
constinit std::atomic<uint64_t> bytes_mapped{0};

/// Takes a value off the front of `bytes`. False: it has not so many.
template <typename Value>
bool take(std::span<const unsigned char>& bytes, Value& out) noexcept {
  if (bytes.size() < sizeof out) return false;
  std::memcpy(&out, bytes.data(), sizeof out);
  bytes = bytes.subspan(sizeof out);
  return true;
}

}  // namespace

void* map(size_t size) noexcept {
  if (size > SIZE_MAX / 2) return nullptr;
  size = (std::max<size_t>(size, 1) + 4095) & ~size_t{4095};
  void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (at == MAP_FAILED) return nullptr;
  bytes_mapped.fetch_add(size, std::memory_order_relaxed);
  return at;
}

uint64_t mapped() noexcept { return bytes_mapped.load(std::memory_order_relaxed); }

const char* Calls::open(const char* path) noexcept {
  file_ = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat facts {};
  if (file_ < 0 || fstat(file_, &facts) != 0) return std::strerror(errno);
  if (!S_ISREG(facts.st_mode)) return "it is no file of calls";
  const auto size = static_cast<uint64_t>(facts.st_size);
  if (size < sizeof(Header) + sizeof(Footer)) return "it is no file of calls";
  auto* const file = static_cast<const unsigned char*>(mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file_, 0));
  if (file == MAP_FAILED) return std::strerror(errno);
  const char* const wrong = read_trailer(file, size);
  munmap(const_cast<unsigned char*>(file), size);  // from here on it is read, so that it is not in our memory
  return wrong;
}

const char* Calls::read_trailer(const unsigned char* file, uint64_t size) noexcept {
  Header header;
  std::memcpy(&header, file, sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof header.magic) != 0) return "it is no file of calls";
  if (header.version != kVersion) return "its version is not ours: export it again";
  Footer footer;
  std::memcpy(&footer, file + size - sizeof footer, sizeof footer);
  if (std::memcmp(footer.magic, kEndMagic, sizeof footer.magic) != 0) return "its end is missing";
  const uint64_t end = size - sizeof footer;
  if (footer.trailer < sizeof header || footer.trailer > end || footer.size != end - footer.trailer) return kDamaged;
  std::span<const unsigned char> rest{file + footer.trailer, footer.size};
  if (checksum(rest) != footer.checksum || !take(rest, trailer_)) return kDamaged;

  const Trailer& t = trailer_;
  if (t.functions == 0 || t.functions > kMostFunctions || t.threads > rest.size() / sizeof(Thread) ||
      t.blocks > footer.trailer / sizeof(Block) || t.calls > footer.trailer || t.slots > t.calls)
    return kDamaged;
  functions_ = static_cast<Function*>(map(t.functions * sizeof(Function)));
  threads_ = static_cast<Thread*>(map(t.threads * sizeof(Thread)));
  first_ = static_cast<uint64_t*>(map(t.threads * sizeof(uint64_t)));
  blocks_ = static_cast<Place*>(map(t.blocks * sizeof(Place)));
  auto* text = static_cast<char*>(map(rest.size()));
  if (functions_ == nullptr || threads_ == nullptr || first_ == nullptr || blocks_ == nullptr || text == nullptr)
    return "there is too little memory for it";
  for (uint32_t i = 0; i < t.functions; ++i) {
    Row row;
    if (!take(rest, row) || row.form > Form::release || rest.size() < row.length) return kDamaged;
    if ((row.form == Form::start) != (i == kStart)) return kDamaged;
    std::memcpy(text, rest.data(), row.length);
    functions_[i] = {row.form, row.aligned != 0, {text, row.length}};
    text += row.length;
    rest = rest.subspan(row.length);
  }
  for (uint32_t i = 0; i < t.threads; ++i)
    if (!take(rest, threads_[i])) return kDamaged;
  if (rest.size() != t.facts) return kDamaged;
  std::memcpy(text, rest.data(), t.facts);
  facts_ = {text, t.facts};
  return read_blocks(file, footer.trailer);
}

const char* Calls::read_blocks(const unsigned char* file, uint64_t end) noexcept {
  auto* const last = static_cast<uint64_t*>(map(trailer_.threads * sizeof(uint64_t)));
  auto* const calls = static_cast<uint64_t*>(map(trailer_.threads * sizeof(uint64_t)));
  if (last == nullptr || calls == nullptr) return "there is too little memory for it";
  std::fill_n(first_, trailer_.threads, kNone);
  uint64_t at = sizeof(Header), number = 0, all = 0;
  for (; at < end; ++number) {
    Block block;
    if (number == trailer_.blocks || end - at < sizeof block) return kDamaged;
    std::memcpy(&block, file + at, sizeof block);
    if (block.magic != kBlockMagic || block.thread >= trailer_.threads || block.size > kMostBlock ||
        block.size > end - at - sizeof block || block.checksum != checksum_of(block, file + at + sizeof block))
      return kDamaged;
    const unsigned char* const content = file + at + sizeof block;
    uint32_t found = 0;
    for (Decoder decoder(block, content); !decoder.empty();) {
      Call call;
      if (!decoder.next(functions(), call)) return kDamaged;
      if (call.slot >= (call.function == kStart ? trailer_.threads : trailer_.slots)) return kDamaged;
      found += call.function != kStart;
    }
    if (found != block.calls) return kDamaged;
    blocks_[number] = {at, kNone};
    (first_[block.thread] == kNone ? first_[block.thread] : blocks_[last[block.thread]].next) = number;
    last[block.thread] = number;
    calls[block.thread] += found;
    all += found;
    at += sizeof block + block.size;
  }
  bool right = at == end && number == trailer_.blocks && all == trailer_.calls;
  for (uint32_t i = 0; i < trailer_.threads; ++i) right &= calls[i] == threads_[i].calls && first_[i] != kNone;
  return right ? nullptr : kDamaged;
}

bool Calls::read(uint64_t number, unsigned char* room, Decoder& out) const noexcept {
  Block block;
  const auto at = static_cast<off_t>(blocks_[number].at);
  if (pread(file_, &block, sizeof block, at) != sizeof block || block.size > kMostBlock) return false;
  if (pread(file_, room, block.size, at + static_cast<off_t>(sizeof block)) != static_cast<ssize_t>(block.size) ||
      block.checksum != checksum_of(block, room))
    return false;
  out = {block, room};
  return true;
}

}  // namespace poireau::replay
