// trace_writer DIRECTORY SEED EVENTS STACKS FRAMES [PROCESS]: a process's trace of so many events, an alloc or a free
// each but for the first few, from so many different stacks of so many frames. The same seed writes the same.
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "preload/ctf.h"

namespace {

using namespace poireau;

constexpr uint32_t kMostPackets = 64;  // of a file
constexpr int64_t kClockOffset = 1'700'000'000'123'456'789;
constexpr uint64_t kHomes = uint64_t{1} << 40;
constexpr uintptr_t kModules[] = {0x5555'5555'0000, 0x7f00'0000'0000, 0x7f00'1000'0000, 0x7f00'2000'0000};
constexpr size_t kModuleSize = 1 << 22;
constexpr std::string_view kPaths[] = {"/opt/program", "/usr/lib/libfirst.so.1", "/usr/lib/libsecond.so.2",
                                       "/usr/lib/libc.so.6"};

/// Packets in files, as preload/trace_stream.cc lays them out.
class Stream {
 public:
  Stream(std::string path, ctf::PacketHeader header) : path_(std::move(path)), header_(header) {}
  ~Stream() { end_packet(); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  void write(const event::Any& event, uint64_t stamp) {
    if (used_ == 0 || used_ + ctf::size_of(event) > ctf::kPacket) begin_packet();
    used_ = static_cast<size_t>(ctf::encode(packet_.data() + used_, event, stamp) - packet_.data());
  }

 private:
  void begin_packet() {
    end_packet();
    if (left_ == 0) {
      ++header_.file;
      left_ = header_.file > 6 ? kMostPackets : 1u << (header_.file - 1);
      file_ = std::ofstream(path_ + std::to_string(header_.file), std::ios::binary);
    }
    --left_;
    packet_.fill('\0');
    used_ = sizeof header_;
  }
  void end_packet() {
    if (used_ == 0) return;
    header_.content_bits = used_ * 8;
    std::copy_n(reinterpret_cast<const char*>(&header_), sizeof header_, packet_.data());
    file_.write(packet_.data(), ctf::kPacket);
    ++header_.sequence;
  }

  const std::string path_;
  ctf::PacketHeader header_;
  std::array<char, ctf::kPacket> packet_;
  size_t used_ = 0;
  uint32_t left_ = 0;
  std::ofstream file_;
};

class Program {
 public:
  Program(uint64_t seed, size_t stacks, size_t frames) : random_(seed), addresses_(stacks * frames), frames_(frames) {
    // Callers are few, callees many.
    for (size_t stack = 0; stack < stacks; ++stack)
      for (size_t frame = 0; frame < frames; ++frame) {
        const size_t choices = std::min<size_t>(2000, size_t{4} << 2 * std::min<size_t>(frames - frame, 7));
        const size_t choice = below(choices) * 509 + frame;
        addresses_[stack * frames + frame] =
            kModules[choice % std::size(kModules)] + 1 + choice * 97 % (kModuleSize - 1);
      }
  }
  uint64_t below(uint64_t limit) { return random_() % limit; }
  event::kinds::frames stack() {
    return std::span(addresses_).subspan(below(addresses_.size() / std::max<size_t>(frames_, 1)) * frames_, frames_);
  }

  event::Alloc alloc(uint64_t now) {
    event::Alloc event;
    event.id = free_.empty() ? ++homes_ : free_.back() + kHomes;
    if (!free_.empty()) free_.pop_back();
    event.address = 0x1000'0000'0000 + event.id.value % kHomes * 64;
    event.size = 1 + static_cast<uint64_t>(std::exp2(static_cast<double>(below(1 << 20)) / (1 << 16)));
    event.alignment = 16;
    event.function = below(4) == 0 ? "operator new" : "malloc";
    event.period = 512 << 10;
    event.since = event.size + below(1 << 20);
    event.guarded = below(16) == 0;
    event.guard_chance = 1 << 28;
    event.thread = static_cast<uint32_t>(1000 + below(8));
    event.time = now;
    event.frames = stack();
    live_.push_back(event.id.value);
    return event;
  }
  event::Free free(uint64_t now) {
    std::swap(live_[below(live_.size())], live_.back());
    event::Free event;
    event.id = live_.back();
    live_.pop_back();
    free_.push_back(event.id.value);
    event.address = 0x1000'0000'0000 + event.id.value % kHomes * 64;
    event.function = "free";
    event.thread = static_cast<uint32_t>(1000 + below(8));
    event.time = now;
    event.frames = stack();
    return event;
  }
  bool has_live() const { return !live_.empty(); }

 private:
  std::mt19937_64 random_;
  std::vector<uintptr_t> addresses_;
  const size_t frames_;
  uint64_t homes_ = 0;
  std::vector<uint64_t> live_, free_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  const std::string directory = argv[1];
  const uint64_t seed = std::strtoull(argv[2], nullptr, 0), events = std::strtoull(argv[3], nullptr, 0);
  Program program(seed, std::strtoull(argv[4], nullptr, 0), std::strtoull(argv[5], nullptr, 0));
  const auto process = static_cast<uint32_t>(argc > 6 ? std::strtoul(argv[6], nullptr, 0) : 4242);

  mkdir(directory.c_str(), 0700);
  ctf::PacketHeader header{ctf::kMagic, {}, 0, 0, ctf::kPacket * 8, 0, process, 0};
  for (uint8_t& byte : header.uuid) byte = static_cast<uint8_t>(program.below(256));
  std::copy_n(reinterpret_cast<const uint8_t*>(&process), sizeof process, header.uuid);
  std::array<char, ctf::kMetadataRoom> text;
  const size_t size = ctf::metadata(text, {.uuid = header.uuid,
                                           .clock_offset = kClockOffset,
                                           .process = process,
                                           .program = "program",
                                           .host = "host",
                                           .version = "0.1.0"});
  std::ofstream(directory + "/metadata", std::ios::binary).write(text.data(), static_cast<std::streamsize>(size));

  Stream facts(directory + "/facts_", header), samples(directory + "/samples_", header);
  uint64_t now = 1'000'000'000, done = 0;
  const auto tell = [&](const event::Any& event) {
    if (done++ < events) facts.write(event, ++now);
  };
  event::Process whose;
  whose.run_id_high = seed + 1;
  whose.run_id_low = process;
  whose.process = process;
  whose.executable = kPaths[0];
  whose.page_size = 4096;
  whose.host = "host";
  whose.version = "0.1.0";
  whose.options = "sample_period=512KiB\n";
  tell(whose);
  for (size_t each = 0; each < std::size(kModules); ++each) {
    const uint8_t build_id[] = {0xab, static_cast<uint8_t>(each)};
    event::Module module;
    module.base = module.begin = kModules[each];
    module.size = kModuleSize;
    module.path = kPaths[each];
    module.build_id = build_id;
    tell(module);
  }
  for (uint32_t each = 0; each < 8; ++each) {
    const std::string name = "worker " + std::to_string(each);
    event::Thread thread;
    thread.thread = 1000 + each;
    thread.name = name;
    tell(thread);
  }
  for (; done < events; ++done) {
    now += 1 + program.below(2000);
    if (!program.has_live() || program.below(100) < 55)
      samples.write(program.alloc(now), now);
    else
      samples.write(program.free(now), now);
  }
  return 0;
}
