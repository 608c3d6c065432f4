#include "poireau/native/decode_metadata.h"

#include <array>
#include <charconv>
#include <string>

#include "preload/ctf.h"

namespace poireau::native {
namespace {

/// Values in a text, each looked for behind the one before.
class Values {
 public:
  explicit Values(std::string_view text) : rest_(text) {}

  bool number(std::string_view key, int64_t& out) {
    if (!find(key)) return false;
    return std::from_chars(rest_.data(), rest_.data() + rest_.size(), out).ec == std::errc();
  }
  bool quoted(std::string_view key, std::string& out) {
    if (!find(key) || !rest_.starts_with('"')) return false;
    for (size_t at = 1; at < rest_.size(); ++at) {
      if (rest_[at] == '"') return true;
      if (rest_[at] == '\\' && ++at == rest_.size()) return false;
      out += rest_[at];
    }
    return false;
  }

 private:
  bool find(std::string_view key) {
    const size_t at = rest_.find(key);
    if (at == rest_.npos) return false;
    rest_.remove_prefix(at + key.size());
    return true;
  }
  std::string_view rest_;
};

bool read_uuid(std::string_view text, std::array<uint8_t, 16>& out) {
  size_t done = 0;
  for (size_t at = 0; at + 2 <= text.size() && done < out.size(); at += 2) {
    if (text[at] == '-') ++at;
    const std::string_view digits = text.substr(at, 2);
    if (std::from_chars(digits.begin(), digits.end(), out[done++], 16).ec != std::errc()) return false;
  }
  return done == out.size();
}

}  // namespace

std::optional<Description> described_by(std::string_view metadata) {
  constexpr int64_t kSecond = 1'000'000'000, kMostSeconds = int64_t{1} << 33;
  Values values(metadata);
  std::string uuid_text, version, host, program;
  int64_t process, seconds, rest;
  std::array<uint8_t, 16> uuid{};
  if (!values.quoted(" uuid = ", uuid_text) || !values.quoted(" tracer_version = ", version) ||
      !values.quoted(" hostname = ", host) || !values.quoted(" procname = ", program) ||
      !values.number(" vpid = ", process) || !values.number(" offset_s = ", seconds) ||
      !values.number(" offset = ", rest) || !read_uuid(uuid_text, uuid) || seconds < -kMostSeconds ||
      seconds > kMostSeconds || rest < 0 || rest >= kSecond)
    return {};
  const ctf::Facts facts{.uuid = uuid,
                         .clock_offset = seconds * kSecond + rest,
                         .process = static_cast<uint32_t>(process),
                         .program = program,
                         .host = host,
                         .version = version};
  std::array<char, ctf::kMetadataRoom> room;
  if (metadata != std::string_view(room.data(), ctf::metadata(room, facts))) return {};
  return Description{facts.clock_offset, facts.process};
}

std::optional<Description> description_of(Directory& trace) {
  const auto file = trace.open("metadata");
  if (file == nullptr) return {};
  std::array<char, ctf::kMetadataRoom> text;
  return described_by({text.data(), file->read(0, text.data(), text.size())});
}

}  // namespace poireau::native
