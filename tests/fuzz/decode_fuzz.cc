// Any bytes as the files of a trace: all that is read has numbers that mean something, and twice the same is read.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "poireau/native/decode_metadata.h"
#include "poireau/native/decode_process.h"

namespace {

using namespace poireau;
using namespace poireau::native;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "decode_fuzz: %s\n", what);
  std::abort();
}

class InMemory : public File {
 public:
  explicit InMemory(const std::string& bytes) : bytes_(bytes) {}
  size_t read(uint64_t at, void* into, size_t size) override {
    if (at >= bytes_.size()) return 0;
    return bytes_.copy(static_cast<char*>(into), size, at);
  }
  uint64_t size() override { return bytes_.size(); }

 private:
  const std::string& bytes_;
};

using Files = std::map<std::string, std::string>;

class DirectoryInMemory : public Directory {
 public:
  explicit DirectoryInMemory(const Files& files) : files_(files) {
    for (const auto& [name, bytes] : files) names_.push_back(name);
  }
  const std::vector<std::string>& names() override { return names_; }
  std::unique_ptr<File> open(const std::string& name) override {
    const auto at = files_.find(name);
    return at == files_.end() ? nullptr : std::make_unique<InMemory>(at->second);
  }

 private:
  const Files& files_;
  std::vector<std::string> names_;
};

std::string metadata() {
  std::string text(ctf::kMetadataRoom, '\0');
  const uint8_t uuid[16] = {};
  text.resize(ctf::metadata(
      text, {.uuid = uuid, .clock_offset = 5, .process = 1, .program = "p", .host = "h", .version = "v"}));
  return text;
}

/// Parts of a byte that says where it lies (file, packet, and whether it begins with a good header), two of its size,
/// and so many more.
Files files_of(std::span<const uint8_t> input) {
  Files files{{"metadata", metadata()}};
  uint64_t sequence = 0;
  while (input.size() >= 3) {
    const uint8_t where = input[0];
    const size_t size = std::min<size_t>(input[1] | input[2] << 8, input.size() - 3);
    const uint32_t number = 1 + (where >> 1 & 3);
    std::string& file = files[((where & 1) != 0 ? "facts_" : "samples_") + std::to_string(number)];
    std::string packet;
    if ((where & 0x80) == 0) {
      const size_t content = std::min(sizeof(ctf::PacketHeader) + size, ctf::kPacket);
      const ctf::PacketHeader header{ctf::kMagic, {}, 0, content * 8, ctf::kPacket * 8, sequence++, 1, number};
      packet.assign(reinterpret_cast<const char*>(&header), sizeof header);
    }
    packet.append(reinterpret_cast<const char*>(input.data()) + 3, size);
    const size_t at = (where >> 3 & 3) * ctf::kPacket;
    file.resize(std::max(file.size(), at + packet.size()));
    packet.copy(file.data() + at, packet.size());
    input = input.subspan(3 + size);
  }
  return files;
}

void check(const PoireauBatch& batch, const PoireauTables& tables) {
  for (size_t type = 0; type < event::kTypes; ++type) {
    const PoireauRows& rows = batch.kinds[type];
    const auto fields = fields_of(static_cast<event::Type>(type));
    for (size_t field = 0; field < fields.size(); ++field) {
      const bool is_stack = fields[field].kind == Kind::frames;
      if (!is_stack && fields[field].kind != Kind::text && fields[field].kind != Kind::bytes) continue;
      const std::span numbers(static_cast<const uint32_t*>(rows.fields[field]), rows.count);
      const uint64_t most = is_stack ? tables.stacks : tables.strings;
      require(std::ranges::all_of(numbers, [&](uint32_t number) { return number < most; }), "a number means nothing");
    }
  }
}

uint64_t read_all(Tables& tables, uint32_t process, const Files& files, uint64_t most) {
  const auto reader = Process::open(tables, process, std::make_unique<DirectoryInMemory>(files));
  require(reader != nullptr, "our own metadata is not ours");
  Columns columns;
  uint64_t events = 0;
  for (bool more = true; more;) {
    columns.clear();
    more = reader->read(columns, most);
    if (most % 2 != 0) reader->rest();
    events += columns.events();
    PoireauBatch batch;
    PoireauTables shown;
    columns.show(batch);
    tables.show(shown);
    check(batch, shown);
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static_cast<void>(described_by({reinterpret_cast<const char*>(data), size}));
  const Files files = files_of({data, size});
  Tables tables;
  const uint32_t process = tables.process("trace", 0);
  const uint64_t events = read_all(tables, process, files, 1 << 16);
  PoireauTables before, after;
  tables.show(before);
  require(events <= size, "more events than bytes");
  require(read_all(tables, process, files, 64) == events, "the second time is not the first");
  tables.show(after);
  require(before.stacks == after.stacks && before.frames == after.frames, "the same stack has another number");
  return 0;
}
