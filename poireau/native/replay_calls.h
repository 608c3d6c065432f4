#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// A file of calls: what one process asked its allocator for, in order, thread by thread. This is the format's one
/// home; replay_encode.cc writes it, replay_calls.cc reads it, and poireau/report/calls.py feeds the former.
///
/// All numbers are little-endian, `varint` is LEB128. A file is a Header, Blocks, a Trailer with what follows it, and a
/// Footer, so that it can be written to a pipe.
///
/// A block holds calls of one thread; those of a thread follow each other in the file. A call is
///     u8      which function, in the trailer's table; kCrossing: somebody else had this slot last
///     varint  slot
///     varint  how far its number, among the calls of all threads, is beyond that of this thread's call before
///     varint  nanoseconds since that one; both are 0 in a block's first call
///     varint  where kCrossing: how many calls there have been on this slot before
///     varint  size, of a birth or a resize
///     u8      logarithm of the alignment, where the function's row says `aligned`
/// and kStart, which is no call, has a thread's number for a slot: it made its first call after this one's last.
///
/// A slot is a variable that holds a block. A call has to wait for the one on the same slot before it, which is the
/// same thread's, or else is crossing and waits for its number. In the order of the calls' own
/// numbers each finds what it waits for.
namespace poireau::replay {

constexpr uint32_t kVersion = 1;
constexpr char kMagic[9] = "POIRCALL", kEndMagic[9] = "POIRDONE";
constexpr uint32_t kBlockMagic = 0x4b434f4c;
constexpr uint8_t kStart = 0, kCrossing = 0x80;
constexpr size_t kMostFunctions = 0x7f;  // the first is kStart
constexpr size_t kMostBlock = 64 << 10;
constexpr size_t kMostCall = 1 + 5 * 10 + 1;
constexpr unsigned kUsualAlignment = 4;

enum class Form : uint8_t { start, birth, resize, release };

struct Header {
  char magic[8];
  uint32_t version, reserved;
};
struct Block {
  uint32_t magic, thread, calls, size;  // bytes that follow
  uint64_t number;                      // of the first call
  int64_t time;                         // of that
  uint64_t checksum;                    // of all the others, and of what follows
};
struct Trailer {
  uint64_t calls, slots, blocks;
  uint64_t peak_bytes, peak_blocks;  // alive at once, as asked for
  int64_t begin, end;
  uint64_t late;        // births that lie before what is left of the recording; they come where they are first heard of
  uint64_t homeless;    // releases of what the recording does not know: left out
  uint64_t unseen;      // releases that nobody saw: where the address was given out again
  uint64_t misordered;  // calls that were recorded long after they were made: they come where they were recorded
  uint32_t functions, threads, facts, reserved;
  // Row[functions], each followed by its name; Thread[threads]; `facts` bytes of text: lines name=value.
};
struct Row {
  Form form;
  uint8_t aligned, length, reserved;
};
struct Thread {
  uint64_t id, calls;
  uint64_t first;  // call's number
};
struct Footer {
  uint64_t trailer, size, checksum;
  char magic[8];
};

[[nodiscard]] inline uint64_t checksum(std::span<const unsigned char> bytes, uint64_t before = 0) noexcept {
  uint64_t sum = before ^ bytes.size();
  const auto mix = [&sum](uint64_t word) {
    sum = (sum ^ word) * 0x9e3779b97f4a7c15;
    sum ^= sum >> 29;
  };
  size_t at = 0;
  for (; bytes.size() - at >= 8; at += 8) {
    uint64_t word;
    __builtin_memcpy(&word, &bytes[at], 8);
    mix(word);
  }
  uint64_t rest = 0;
  for (; at < bytes.size(); ++at) rest = rest << 8 | bytes[at];
  mix(rest);
  return sum;
}
[[nodiscard]] inline uint64_t checksum_of(const Block& block, const unsigned char* content) noexcept {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&block);
  return checksum({content, block.size}, checksum({bytes, offsetof(Block, checksum)}));
}

struct Call {
  uint8_t function;
  bool crossing;
  uint64_t slot, before, size;
  unsigned alignment;  // logarithm
  uint64_t number;
  int64_t time;
};

struct Function {
  Form form;
  bool aligned;
  std::string_view name;
};

/// Takes calls off the front of a block's content. False: it is damaged.
class Decoder {
 public:
  Decoder() noexcept = default;
  Decoder(const Block& block, const unsigned char* content) noexcept
      : at_(content), end_(content + block.size), number_(block.number), time_(block.time) {}
  [[nodiscard]] bool empty() const noexcept { return at_ == end_; }
  [[nodiscard]] bool next(std::span<const Function> functions, Call& call) noexcept {
    const uint8_t first = *at_++;
    call.function = first & (kCrossing - 1);
    call.crossing = (first & kCrossing) != 0;
    if (call.function >= functions.size()) return false;
    const Function& function = functions[call.function];
    uint64_t passed = 0, others = 0;
    call.before = call.size = 0;
    call.alignment = kUsualAlignment;
    if (!number(call.slot) || !number(others) || !number(passed)) return false;
    call.number = number_ += others;
    call.time = time_ = static_cast<int64_t>(static_cast<uint64_t>(time_) + passed);
    if (call.crossing && !number(call.before)) return false;
    if (function.form != Form::birth && function.form != Form::resize) return true;
    if (!number(call.size)) return false;
    if (!function.aligned) return true;
    if (at_ == end_ || *at_ > 40) return false;
    call.alignment = *at_++;
    return true;
  }

 private:
  [[nodiscard]] bool number(uint64_t& out) noexcept {
    out = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (at_ == end_) return false;
      const uint8_t byte = *at_++;
      out |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  const unsigned char *at_ = nullptr, *end_ = nullptr;
  uint64_t number_ = 0;
  int64_t time_ = 0;
};

/// A file that has been looked at as a whole: what it says of itself holds. Its memory is mapped, never malloc's.
class Calls {
 public:
  static constexpr uint64_t kNone = ~uint64_t{0};

  /// nullptr, or what is wrong with it.
  [[nodiscard]] const char* open(const char* path) noexcept;

  [[nodiscard]] const Trailer& trailer() const noexcept { return trailer_; }
  [[nodiscard]] std::span<const Function> functions() const noexcept { return {functions_, trailer_.functions}; }
  [[nodiscard]] std::span<const Thread> threads() const noexcept { return {threads_, trailer_.threads}; }
  [[nodiscard]] std::string_view facts() const noexcept { return facts_; }
  /// The number of a thread's first block, and of the one after a block; kNone.
  [[nodiscard]] uint64_t first_block(uint64_t thread) const noexcept { return first_[thread]; }
  [[nodiscard]] uint64_t next_block(uint64_t block) const noexcept { return blocks_[block].next; }
  /// Reads a block's content, of at most kMostBlock bytes, into `room`. False: it can't be read any more.
  [[nodiscard]] bool read(uint64_t block, unsigned char* room, Decoder& out) const noexcept;

 private:
  struct Place {
    uint64_t at, next;
  };
  [[nodiscard]] const char* read_trailer(const unsigned char* file, uint64_t size) noexcept;
  [[nodiscard]] const char* read_blocks(const unsigned char* file, uint64_t end) noexcept;

  int file_ = -1;
  Trailer trailer_{};
  Function* functions_ = nullptr;
  Thread* threads_ = nullptr;
  uint64_t* first_ = nullptr;
  Place* blocks_ = nullptr;
  std::string_view facts_;
};

/// Memory for good, all of it there at once; nullptr: there is none.
[[nodiscard]] void* map(size_t size) noexcept;
/// Bytes that `map` has given out.
[[nodiscard]] uint64_t mapped() noexcept;

}  // namespace poireau::replay
