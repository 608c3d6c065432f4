#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

#include "preload/base/random.h"
#include "preload/ctf.h"
#include "preload/event.h"

/// What readers find in a trace: a strict one of our own, and babeltrace2.
namespace poireau::test {

namespace fs = std::filesystem;

constexpr size_t kMostFrames = 40;

/// Calls `use` with a free event that only its number decides; the number is to be its time, too.
template <typename Use>
auto with_event(uint64_t id, Use&& use) {
  uintptr_t frames[kMostFrames];
  std::iota(std::begin(frames), std::end(frames), id);
  event::Free event;
  event.id = id;
  event.function = "free";
  event.frames = {frames, Random{id}.next() % kMostFrames};
  return use(event);
}

inline size_t size_of_event(uint64_t id) {
  return with_event(id, [](const event::Free& event) { return ctf::size_of(event); });
}
inline std::string bytes_of_event(uint64_t id) {
  return with_event(id, [id](const event::Free& event) {
    std::string bytes(ctf::size_of(event), '\0');
    EXPECT_EQ(ctf::encode(bytes.data(), event, id), bytes.data() + bytes.size());
    return bytes;
  });
}

struct Seen {
  uint64_t id;
  uint32_t file;
};

inline std::string content_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The events of a packet, complete ones and nothing else.
inline void read_packet(std::string_view packet, std::vector<Seen>& out) {
  ctf::PacketHeader header;
  ASSERT_GE(packet.size(), sizeof header);
  std::memcpy(&header, packet.data(), sizeof header);
  ASSERT_EQ(header.magic, ctf::kMagic);
  ASSERT_EQ(header.stream_class, 0u);
  ASSERT_EQ(header.packet_bits, ctf::kPacket * 8);
  ASSERT_EQ(header.content_bits % 8, 0u);
  ASSERT_GE(header.content_bits, sizeof header * 8);
  ASSERT_LE(header.content_bits, header.packet_bits);
  std::string_view rest = packet.substr(sizeof header, header.content_bits / 8 - sizeof header);
  while (!rest.empty()) {
    uint64_t id = 0;
    ASSERT_GE(rest.size(), sizeof(uint16_t) + sizeof id);
    std::memcpy(&id, rest.data() + sizeof(uint16_t), sizeof id);
    const std::string expected = bytes_of_event(id);
    ASSERT_TRUE(rest.starts_with(expected)) << id;
    rest.remove_prefix(expected.size());
    ASSERT_TRUE(out.empty() || out.back().file != header.file || out.back().id < id) << "time goes back";
    out.push_back({id, header.file});
  }
}

/// All events of a stream, by time.
inline std::vector<Seen> read_trace(const fs::path& directory, const std::string& stem = "s") {
  std::vector<Seen> all;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(".") || !name.starts_with(stem + "_")) continue;
    const std::string content = content_of(entry.path());
    EXPECT_TRUE(!content.empty() && content.size() % ctf::kPacket == 0) << name << ": " << content.size();
    std::vector<Seen> events;
    for (size_t at = 0; at < content.size(); at += ctf::kPacket)
      read_packet(std::string_view(content).substr(at, ctf::kPacket), events);
    all.insert(all.end(), events.begin(), events.end());
  }
  std::sort(all.begin(), all.end(), [](const Seen& a, const Seen& b) { return a.id < b.id; });
  return all;
}

/// Its lines about the trace. It is held to 4 GB: some damaged packets make it take all there is.
inline std::vector<std::string> babeltrace(const fs::path& directory, const std::string& options = "") {
  const std::string command =
      "ulimit -v 4000000; timeout 100 babeltrace2 " + options + " '" + directory.string() + "' 2>&1";
  FILE* const pipe = popen(command.c_str(), "r");
  std::vector<std::string> lines;
  char* line = nullptr;
  size_t room = 0;
  for (ssize_t size; (size = getline(&line, &room, pipe)) > 0;) lines.emplace_back(line, size - 1);
  std::free(line);
  EXPECT_EQ(pclose(pipe), 0) << (lines.empty() ? "" : lines.back());
  return lines;
}

/// The ids of the free events, in its order.
inline std::vector<uint64_t> babeltrace_ids(const fs::path& directory) {
  std::vector<uint64_t> ids;
  for (const std::string& line : babeltrace(directory)) {
    const size_t at = line.find("{ id = 0x");
    EXPECT_NE(at, line.npos) << line;
    if (at != line.npos) ids.push_back(std::stoull(line.substr(at + 9), nullptr, 16));
  }
  return ids;
}

}  // namespace poireau::test
