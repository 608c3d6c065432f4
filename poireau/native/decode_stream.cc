#include "poireau/native/decode_stream.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace poireau::native {
namespace {

constexpr size_t kHeader = sizeof(ctf::PacketHeader);
constexpr size_t kOverwritten = 8;  // files that may have got a new number: preload/trace_stream.h keeps five at hand
constexpr uint64_t kMostPackets = 64;  // of a file; so many in a row may be bad: a file may say that it is of any size

constexpr std::string_view kCut = "a file is cut off within a packet";
constexpr std::string_view kBadHeader = "a packet's header is damaged";
constexpr std::string_view kBadEvent = "the rest of a packet is damaged";
constexpr std::string_view kNoFile = "a file can't be opened";
constexpr std::string_view kMissing = "packets were overwritten or removed before they were read";

std::optional<ctf::PacketHeader> header_at(File& file, uint64_t packet) {
  ctf::PacketHeader header;
  if (file.read(packet * ctf::kPacket, &header, kHeader) < kHeader || !is_sane(header)) return {};
  return header;
}

/// What its packets say.
uint32_t number_of(File& file, uint32_t otherwise) {
  constexpr uint64_t kTries = 4;
  for (uint64_t packet = 0; packet < kTries; ++packet)
    if (const auto header = header_at(file, packet); header && header->file != 0) return header->file;
  return otherwise;
}

uint64_t packets_in(File& file) { return (file.size() + ctf::kPacket - 1) / ctf::kPacket; }

/// 0: it isn't one.
uint32_t number_in_name(std::string_view name, std::string_view stem) {
  if (!name.starts_with(stem) || !name.substr(stem.size()).starts_with('_')) return 0;
  name.remove_prefix(stem.size() + 1);
  uint32_t number = 0;
  const auto [end, error] = std::from_chars(name.begin(), name.end(), number);
  return error == std::errc() && end == name.end() ? number : 0;
}

}  // namespace

uint64_t bytes_of_stream(Directory& directory, std::string_view stem) {
  uint64_t sum = 0;
  for (const std::string& name : directory.names()) {
    const auto file = number_in_name(name, stem) == 0 ? nullptr : directory.open(name);
    sum += file == nullptr ? 0 : file->size();
  }
  return sum;
}

Stream::Stream(Directory& directory, std::string stem, Lose lose)
    : directory_(directory), stem_(std::move(stem)), lose_(std::move(lose)) {}

bool Stream::load() {
  events_.clear();
  next_ = 0;
  bytes_.resize(ctf::kPacket);
  while (true) {
    if (over_) leave_packet();
    if (file_ == nullptr && !open_file()) return false;
    // In this order: what is in the packet by then is all that ever will be.
    over_ = more_follows();
    read_packet();
    if (ready()) return true;
    if (in_file_ && !over_) return false;
  }
}

void Stream::rest() {
  file_ = nullptr;
  std::vector<char>().swap(bytes_);
  std::vector<Event>().swap(events_);
  next_ = 0;
}

void Stream::look_for_files() {
  std::vector<uint32_t> known;
  for (const auto& [name, number] : numbers_) known.push_back(number);
  std::ranges::sort(known, std::greater());
  const uint32_t unsure = known.size() > kOverwritten ? known[kOverwritten - 1] : 0;
  ahead_.clear();
  for (const std::string& name : directory_.names()) {
    const uint32_t by_name = number_in_name(name, stem_);
    if (by_name == 0) continue;
    const auto [at, is_new] = numbers_.try_emplace(name, by_name);
    if (is_new || at->second >= unsure) {
      const auto file = directory_.open(name);
      if (file != nullptr) at->second = number_of(*file, by_name);
    }
    if (at->second > number_) ahead_.emplace(at->second, name);
  }
}

bool Stream::holds_something(File& file, uint64_t from) const {
  for (const uint64_t packets = packets_in(file); from < packets; ++from) {
    const auto header = header_at(file, from);
    if (!header || header->content_bits > kHeader * 8) return true;
  }
  return false;
}

/// What can't be opened may have been given back or removed by the writer.
bool Stream::is_there(const std::string& name) {
  const auto& names = directory_.names();
  return std::ranges::find(names, name) != names.end();
}

bool Stream::more_follows() {
  if (holds_something(*file_, packet_ + 1)) return true;
  if (ahead_.empty() || directory_.open(ahead_.begin()->second) == nullptr) look_for_files();
  return std::ranges::any_of(ahead_, [&](const auto& each) {
    const auto file = directory_.open(each.second);
    return file == nullptr ? is_there(each.second) : holds_something(*file, 0);
  });
}

bool Stream::open_file() {
  if (in_file_) {  // where `rest` left it
    file_ = directory_.open(name_);
    if (file_ != nullptr && number_of(*file_, number_) == number_) return true;
    ++jumped_;
    leave_file();
  }
  for (bool looked = false;; looked = true) {
    if (ahead_.empty() && !looked) look_for_files();
    if (ahead_.empty()) return false;
    const auto [number, name] = *ahead_.begin();
    ahead_.erase(ahead_.begin());
    file_ = directory_.open(name);
    if (const uint32_t now = file_ == nullptr ? number : number_of(*file_, number); now != number) {
      numbers_[name] = now;  // overwritten since
      look_for_files();
      continue;
    }
    if (number_ != 0 && number > number_) jumped_ += number - number_ - 1;
    number_ = number;
    if (file_ == nullptr) {
      if (is_there(name)) lose_(kNoFile, 1);
      ++jumped_;
      continue;
    }
    name_ = name;
    in_file_ = true;
    packets_ = packets_in(*file_);
    packet_ = read_ = bad_ = 0;
    blamed_ = false;
    return true;
  }
}

void Stream::leave_file() {
  file_ = nullptr;
  in_file_ = over_ = false;
  read_ = 0;
}

void Stream::read_packet() {
  const uint64_t begin = packet_ * ctf::kPacket;
  const auto header = header_at(*file_, packet_);
  if (!header) {
    ++bad_;
    return blame(file_->size() < begin + kHeader ? kCut : kBadHeader);
  }
  bad_ = 0;
  if (header->file != number_ && number_of(*file_, number_) != number_) {
    ++jumped_;
    ahead_.clear();
    return leave_file();
  }
  count_missing(header->sequence);
  const size_t from = std::max(read_, kHeader), content = header->content_bits / 8;
  if (content <= from || blamed_) return;
  const size_t got = file_->read(begin + from, bytes_.data() + from, content - from);
  const auto after = header_at(*file_, packet_);
  if (!after || after->sequence != header->sequence || after->content_bits < header->content_bits) {
    ++jumped_;
    ahead_.clear();
    return leave_file();
  }
  if (got < content - from) blame(kCut);
  read_ = from + got;
  if (look_through(packet(), from, events_) < read_) blame(kBadEvent);
}

/// The writer numbers them without a gap. A number that is too far off is what is damaged.
void Stream::count_missing(uint64_t sequence) {
  const uint64_t missing = sequence - sequence_;
  const bool plausible = missing <= (jumped_ + uint64_t{1}) * kMostPackets;
  if (numbered_ && missing != 0 && (plausible || jumped_ != 0)) lose_(kMissing, plausible ? missing : jumped_);
  numbered_ = true;
  jumped_ = 0;
  sequence_ = sequence;
}

void Stream::leave_packet() {
  over_ = false;
  if (file_ == nullptr) return;
  const uint64_t left = packets_ - std::min(packets_, packet_ + 1);
  ++sequence_;
  if (bad_ >= kMostPackets && left != 0) {
    lose_(kBadHeader, left);
    sequence_ += left;
  }
  done_ += ctf::kPacket;
  ++packet_;
  read_ = 0;
  blamed_ = false;
  if (left == 0 || bad_ >= kMostPackets) leave_file();
}

void Stream::blame(std::string_view cause) {
  if (!blamed_) lose_(cause, 1);
  blamed_ = true;
}

}  // namespace poireau::native
