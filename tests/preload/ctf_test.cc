#include "preload/ctf.h"

#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <string>
#include <vector>

#include "tests/preload/trace_reader.h"

namespace poireau::ctf {
namespace {

namespace fs = std::filesystem;
namespace kinds = event::kinds;

constexpr std::array<uint8_t, 16> kUuid{0xde, 0xad, 0xbe, 0xef, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    kOther{1};  // readers take traces of one UUID for one
constexpr uint8_t kBytes[] = {0, 1, 0xff};
constexpr uintptr_t kFrames[] = {0x401000, 0xffffffffffffffff};

/// Each field gets a value of its own, and as many bits as it has.
struct Fill {
  uint64_t next = 0xfedcba9876543210;
  template <typename Number>
  void operator()(Number& number) {
    number = static_cast<Number>(next--);
  }
  void operator()(kinds::hex& number) { number = next--; }
  void operator()(kinds::text& text) { text = next-- % 2 == 0 ? "" : "operator new[], \xc3\xa9"; }
  void operator()(kinds::bytes& bytes) { bytes = kBytes; }
  void operator()(kinds::frames& frames) { frames = kFrames; }
};

/// As babeltrace2 shows it.
struct Show {
  std::string& out;

  void operator()(const char* name, std::unsigned_integral auto number) { field(name, std::to_string(number)); }
  void operator()(const char* name, kinds::hex number) { field(name, hexadecimal(number.value)); }
  void operator()(const char* name, kinds::text text) { field(name, '"' + std::string(text) + '"'); }
  void operator()(const char* name, kinds::bytes bytes) {
    std::vector<std::string> items;
    for (const uint8_t byte : bytes) items.push_back(std::to_string(byte));
    sequence(name, items);
  }
  void operator()(const char* name, kinds::frames frames) {
    std::vector<std::string> items;
    for (const uintptr_t frame : frames) items.push_back(hexadecimal(frame));
    sequence(name, items);
  }

  void field(const std::string& name, const std::string& value) {
    out += (out.empty() ? "" : ", ") + name + " = " + value;
  }
  void sequence(const std::string& name, const std::vector<std::string>& items) {
    field("_" + name + "_length", std::to_string(items.size()));
    std::string all = "[";
    for (size_t i = 0; i < items.size(); ++i) all += (i == 0 ? " [" : ", [") + std::to_string(i) + "] = " + items[i];
    field(name, all + " ]");
  }
  static std::string hexadecimal(uint64_t number) {
    char text[20];
    std::snprintf(text, sizeof text, "0x%lX", number);
    return text;
  }
};

/// A directory with a trace of one packet.
class Trace {
 public:
  explicit Trace(const Facts& facts) : uuid(facts.uuid) {
    std::string name = fs::temp_directory_path() / "ctf.XXXXXX";
    EXPECT_NE(mkdtemp(name.data()), nullptr);
    path = name;
    std::vector<char> room(kMetadataRoom);
    const size_t size = metadata(room, facts);
    EXPECT_GT(size, 0u);
    std::ofstream(path / "metadata").write(room.data(), static_cast<std::streamsize>(size));
    packet.resize(sizeof(PacketHeader));
  }
  ~Trace() { fs::remove_all(path); }
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  void add(const event::Any& event, uint64_t time) {
    const size_t at = packet.size();
    packet.resize(at + size_of(event), '\xaa');
    EXPECT_EQ(encode(packet.data() + at, event, time), packet.data() + packet.size());
  }
  void close() {
    PacketHeader header{kMagic, {}, 0, packet.size() * 8, kPacket * 8, 0, 1, 1};
    std::copy(uuid.begin(), uuid.end(), header.uuid);
    std::memcpy(packet.data(), &header, sizeof header);
    packet.resize(kPacket);
    std::ofstream(path / "stream_1", std::ios::binary) << packet;
  }

  fs::path path;
  std::string packet;
  std::span<const uint8_t, 16> uuid;
};

Facts facts_at(int64_t clock_offset, std::span<const uint8_t, 16> uuid = kUuid) {
  return {uuid, clock_offset, 4711, "program", "host", "1.2.3"};
}

TEST(Ctf, ShowsReadersEachFieldOfEachEvent) {
  Trace trace(facts_at(0));
  std::vector<std::string> expected, names;
  Fill fill;
#define FIELD(kind, name, help) fill(event.name);
#define EVENT(name, Name, help, ...)                            \
  {                                                             \
    event::Name event;                                          \
    __VA_ARGS__                                                 \
    trace.add(event, expected.size());                          \
    std::string fields;                                         \
    for_each_field(event, Show{fields});                        \
    expected.push_back("{ " + fields + " }");                   \
    names.push_back("host:program:(4711) poireau:" #name ": "); \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD
  ASSERT_EQ(expected.size(), event::kTypes);
  trace.close();
  const auto lines = test::babeltrace(trace.path);
  ASSERT_EQ(lines.size(), expected.size());
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_TRUE(lines[i].ends_with("{ sequence = 0, process = 1, file = 1 }, " + expected[i])) << lines[i] << "\n"
                                                                                               << expected[i];
    EXPECT_NE(lines[i].find(names[i]), std::string::npos) << lines[i];
  }
}

TEST(Ctf, CutsTextsAtANulAndSequencesAtTheirLongest) {
  event::Thread thread;
  thread.name = std::string_view("a\0b", 3);
  const size_t named = size_of(thread);
  thread.name = {};
  EXPECT_EQ(named, size_of(thread) + 1);

  const std::vector<uintptr_t> frames(UINT16_MAX + 10, 1);
  event::Free free;
  const size_t bare = size_of(free);
  free.frames = frames;
  EXPECT_EQ(size_of(free), bare + UINT16_MAX * sizeof(uintptr_t));
  std::vector<char> out(size_of(free));
  EXPECT_EQ(encode(out.data(), free, 0), out.data() + out.size());
}

TEST(Ctf, HasAbsoluteTimesSoThatTracesCanBeReadTogether) {
  constexpr int64_t kSecond = 1'000'000'000;
  event::Thread thread;
  Trace early(facts_at(1'700'000'000 * kSecond + 5)), late(facts_at(1'700'000'001 * kSecond + 999'999'999, kOther));
  for (const uint64_t time : {0, 2}) {
    thread.thread = 1;
    early.add(thread, time * kSecond);
    thread.thread = 2;
    late.add(thread, time * kSecond);
  }
  early.close();
  late.close();
  const auto lines = test::babeltrace(early.path.string() + "' '" + late.path.string(), "--clock-seconds");
  ASSERT_EQ(lines.size(), 4u);
  const char* const expected[] = {"[1700000000.000000005]", "[1700000001.999999999]", "[1700000002.000000005]",
                                  "[1700000003.999999999]"};
  for (size_t i = 0; i < lines.size(); ++i) {
    EXPECT_TRUE(lines[i].starts_with(expected[i])) << lines[i];
    EXPECT_NE(lines[i].find("thread = " + std::to_string(1 + i % 2)), std::string::npos) << lines[i];
  }
}

TEST(Ctf, IsReadWhenTheCalendarIsBehindTheClock) {
  Trace trace(facts_at(-5'500'000'000));
  trace.add(event::Thread{}, 7'000'000'000);
  trace.close();
  const auto lines = test::babeltrace(trace.path, "--clock-seconds");
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_TRUE(lines[0].starts_with("[1.500000000]")) << lines[0];
}

TEST(Ctf, IsReadWhateverTheProgramIsCalled) {
  std::string name;
  for (int c = 1; c < 256; ++c) name += static_cast<char>(c);
  for (const std::string& odd : {name, std::string("\"; }; env { x = 1; }; //"), std::string("\\"), std::string()}) {
    Facts facts = facts_at(0);
    facts.program = facts.host = facts.version = odd;
    Trace trace(facts);
    trace.add(event::Thread{}, 1);
    trace.close();
    EXPECT_EQ(test::babeltrace(trace.path).size(), 1u);
  }
}

TEST(Ctf, SaysWhenItsMetadataHasNoRoom) {
  std::vector<char> room(kMetadataRoom);
  const std::string longest(255, '"');
  Facts facts = facts_at(INT64_MIN);
  facts.program = facts.host = facts.version = longest;
  const size_t size = metadata(room, facts);
  ASSERT_GT(size, 0u);
  EXPECT_EQ(metadata({room.data(), size}, facts), size);
  for (size_t less = 0; less < size; ++less) EXPECT_EQ(metadata({room.data(), less}, facts), 0u);
}

}  // namespace
}  // namespace poireau::ctf
