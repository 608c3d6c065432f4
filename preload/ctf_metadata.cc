#include <algorithm>

#include "preload/base/text.h"
#include "preload/ctf.h"

namespace poireau::ctf {
namespace {

/// Text into a span; what does not fit makes the whole worthless.
class Writer {
 public:
  explicit Writer(std::span<char> out) noexcept : out_(out) {}
  [[nodiscard]] size_t size() const noexcept { return fits_ ? size_ : 0; }

  [[gnu::noinline]] Writer& operator<<(std::string_view text) noexcept {
    fits_ = fits_ && text.size() <= out_.size() - size_;
    if (!fits_) return *this;
    std::copy_n(text.data(), text.size(), out_.data() + size_);
    size_ += text.size();
    return *this;
  }
  [[gnu::noinline]] Writer& operator<<(int64_t number) noexcept {
    char digits[1 + kMostDigits] = "-";
    const uint64_t size = number < 0 ? -static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    const char* const end = write_number(digits + 1, size);
    const char* const begin = digits + (number >= 0);
    return *this << std::string_view(begin, static_cast<size_t>(end - begin));
  }
  Writer& hexadecimal(uint8_t byte) noexcept {
    constexpr char kDigits[] = "0123456789abcdef";
    const char text[] = {kDigits[byte >> 4], kDigits[byte & 15]};
    return *this << std::string_view(text, sizeof text);
  }
  /// As a literal. Readers want UTF-8 there, and programs are called anything.
  [[gnu::noinline]] Writer& quoted(std::string_view text) noexcept {
    *this << "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') *this << "\\";
      const bool plain = c >= ' ' && c < 0x7f;
      *this << (plain ? std::string_view(&c, 1) : "?");
    }
    return *this << "\"";
  }

 private:
  std::span<char> out_;
  size_t size_ = 0;
  bool fits_ = true;
};

// Of each event, in the order of their numbers, its name and its fields' kinds and names: "alloc hex id ... ;".
constexpr std::string_view kEvents =
#define FIELD(kind, name, help) " " #kind " " #name
#define EVENT(name, Name, help, ...) #name __VA_ARGS__ ";"
#include "preload/event.def"
#undef EVENT
#undef FIELD
    ;

/// Takes it off the front of `text`, and the character after it.
std::string_view cut(std::string_view& text, char after) noexcept {
  const std::string_view got = text.substr(0, text.find(after));
  text.remove_prefix(std::min(got.size() + 1, text.size()));
  return got;
}

// Readers strip the first underscore of a field's name, which keeps it apart from the language's words; LTTng gives
// its own one too, so that what readers show is the same.
void write_field(Writer& out, std::string_view kind, std::string_view name) noexcept {
  const bool sequence = kind == "bytes" || kind == "frames";
  if (sequence) out << "    u16 __" << name << "_length;\n";
  out << "    "
      << (kind == "bytes"    ? "u8"
          : kind == "frames" ? "hex"
          : kind == "text"   ? "string"
                             : kind)
      << " _" << name;
  if (sequence) out << "[__" << name << "_length]";
  out << ";\n";
}

void write_events(Writer& out) noexcept {
  int64_t id = 0;
  for (std::string_view events = kEvents; !events.empty();) {
    std::string_view fields = cut(events, ';');
    out << "event {\n  name = \"poireau:" << cut(fields, ' ') << "\";\n  id = " << id++
        << ";\n  stream_id = 0;\n  fields := struct {\n";
    while (!fields.empty()) {
      const std::string_view kind = cut(fields, ' ');
      write_field(out, kind, cut(fields, ' '));
    }
    out << "  };\n};\n";
  }
}

void write_uuid(Writer& out, std::span<const uint8_t, 16> uuid) noexcept {
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out << "-";
    out.hexadecimal(uuid[i]);
  }
}

}  // namespace

size_t metadata(std::span<char> room, const Facts& facts) noexcept {
  constexpr int64_t kSecond = 1'000'000'000;
  int64_t seconds = facts.clock_offset / kSecond, rest = facts.clock_offset % kSecond;
  if (rest < 0) {
    --seconds;
    rest += kSecond;
  }
  Writer out(room);
  out << "/* CTF 1.8 */\n"
         "typealias integer { size = 8; align = 8; signed = false; } := u8;\n"
         "typealias integer { size = 16; align = 8; signed = false; } := u16;\n"
         "typealias integer { size = 32; align = 8; signed = false; } := u32;\n"
         "typealias integer { size = 64; align = 8; signed = false; } := u64;\n"
         "typealias integer { size = 64; align = 8; signed = false; base = 16; } := hex;\n"
         "trace {\n  major = 1;\n  minor = 8;\n  uuid = \"";
  write_uuid(out, facts.uuid);
  out << "\";\n  byte_order = le;\n"
         "  packet.header := struct { u32 magic; u8 uuid[16]; u32 stream_id; };\n};\n"
         // The names by which babeltrace2 puts host, program and process before each event.
         "env {\n  domain = \"ust\";\n  tracer_name = \"poireau\";\n  tracer_version = ";
  out.quoted(facts.version) << ";\n  hostname = ";
  out.quoted(facts.host) << ";\n  procname = ";
  out.quoted(facts.program) << ";\n  vpid = " << int64_t{facts.process} << ";\n};\n";
  // Readers take clocks that are not absolute for unrelated: they would refuse two traces at once. And a time of
  // packets, or a number by which events were dropped, would be one more thing to keep true at every instant.
  out << "clock {\n  name = \"monotonic\";\n  freq = " << kSecond << ";\n  absolute = TRUE;\n  offset_s = " << seconds
      << ";\n  offset = " << rest
      << ";\n};\n"
         "typealias integer { size = 64; align = 8; signed = false; map = clock.monotonic.value; } := time;\n"
         "stream {\n  id = 0;\n"
         "  packet.context := struct {\n    u64 content_size;\n    u64 packet_size;\n    u64 sequence;\n"
         "    u32 process;\n    u32 file;\n  };\n"
         "  event.header := struct { u16 id; time timestamp; };\n};\n";
  write_events(out);
  return out.size();
}

}  // namespace poireau::ctf
