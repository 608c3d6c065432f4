#include "poireau/native/babeltrace_files.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "poireau/native/babeltrace_bounds.h"

namespace poireau::native::babeltrace {
namespace {

constexpr uint64_t kMostMetadata = 64 << 20;
constexpr int kDeepest = 16;

std::string metadata_of(const fs::path& directory, bool& whole) {
  const File file(directory / "metadata");
  if (!file.there() || file.size() > kMostMetadata) return {};
  std::string all(file.size(), '\0');
  all.resize(file.read(all.data(), all.size(), 0));
  return text_of(all, whole);
}

std::string name_of(const std::array<uint8_t, 16>& uuid) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : uuid) out.append({kDigits[byte >> 4], kDigits[byte & 15]});
  return out;
}

/// In the order of their names, those that are hidden left out.
template <typename Wanted>
std::vector<fs::path> entries_of(const fs::path& directory, Wanted&& wanted) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error))
    if (!entry->path().filename().string().starts_with('.') && wanted(*entry)) out.push_back(entry->path());
  std::sort(out.begin(), out.end());
  return out;
}

/// Adds what is sound of a directory to the trace it is of.
void look_at(const fs::path& directory, Scratch& scratch, std::map<std::string, Trace>& traces, Losses& losses) {
  bool whole = true;
  const std::string text = metadata_of(directory, whole);
  if (text.empty()) {
    ++losses["metadata that is not CTF 1.8's"];
    return;
  }
  if (!whole) ++losses["damaged metadata"];
  if (!is_bounded(text)) {
    ++losses["metadata with more fields than anybody means"];
    return;
  }
  const std::optional<Layout> layout = layout_of(text);
  if (!layout || layout->streams.empty()) {
    ++losses["metadata that doesn't tell where packets end"];
    return;
  }
  const std::string name = layout->uuid ? name_of(*layout->uuid) : directory.string();
  Trace& trace = traces[name];
  if (trace.name.empty()) trace = {name, directory.string(), {}, {}, {}};
  if (text.size() > trace.metadata.size()) trace.metadata = text;
  const fs::path view = scratch.view(text);
  bool any = false;
  std::error_code error;
  for (const fs::path& path : entries_of(directory, [&](auto& entry) { return entry.is_regular_file(error); })) {
    if (path.filename() == "metadata") continue;
    const File file(path);
    if (!file.there()) {
      ++losses["files that cannot be opened"];
      continue;
    }
    Checked checked = check(*layout, path, file);
    if (checked.damaged != 0) losses["damaged packets"] += checked.damaged;
    const fs::path shown = view / path.filename();
    for (auto& [key, packets] : checked.streams) {
      any = true;
      if (checked.damaged != 0)
        copy(packets.data(), packets.data() + packets.size(), shown);
      else
        fs::create_symlink(fs::absolute(path), shown);
      // Without instances a stream is called after the file that libbabeltrace2 sees.
      Packets& stream = trace.streams[layout->instance ? key : key.substr(0, key.find('|') + 2) + shown.string()];
      stream.insert(stream.end(), packets.begin(), packets.end());
    }
  }
  if (any) trace.views.push_back(view.string());
}

/// As libbabeltrace2 does: by time, and what is in several snapshots once.
void put_in_order(Packets& packets) {
  const auto earlier = [](const Packet& a, const Packet& b) { return a.begin < b.begin; };
  const auto same = [](const Packet& a, const Packet& b) {
    return a.begin != 0 && a.begin == b.begin && a.size == b.size;
  };
  std::stable_sort(packets.begin(), packets.end(), earlier);
  packets.erase(std::unique(packets.begin(), packets.end(), same), packets.end());
}

/// Whatever is still there when the program ends, which may have left its readers open.
class Leftovers {
 public:
  void add(const fs::path& path) {
    const std::lock_guard lock(lock_);
    paths_[path] = getpid();  // a child's end is not ours
  }
  void remove(const fs::path& path) {
    std::error_code error;
    fs::remove_all(path, error);
    const std::lock_guard lock(lock_);
    paths_.erase(path);
  }
  ~Leftovers() {
    std::error_code error;
    for (const auto& [path, process] : paths_)
      if (process == getpid()) fs::remove_all(path, error);
  }

 private:
  std::mutex lock_;
  std::map<fs::path, pid_t> paths_;
} leftovers;

/// All directories with metadata in or under this one.
void find(const fs::path& directory, int depth, std::vector<fs::path>& out) {
  std::error_code error;
  if (fs::is_regular_file(directory / "metadata", error)) {
    out.push_back(directory);
    return;
  }
  if (depth == kDeepest) return;
  const auto below = [&](const fs::directory_entry& entry) {
    return entry.is_directory(error) && !entry.is_symlink(error);
  };
  for (const fs::path& each : entries_of(directory, below)) find(each, depth + 1, out);
}

}  // namespace

Scratch::Scratch() {
  std::error_code error;
  fs::path parent = fs::temp_directory_path(error);
  if (error) parent = "/tmp";
  std::string name = parent / ("poireau-read-" + std::string(6, 'X'));
  if (mkdtemp(name.data()) == nullptr) throw std::system_error(errno, std::generic_category(), parent.string());
  path_ = name;
  leftovers.add(path_);
}

Scratch::~Scratch() { leftovers.remove(path_); }

fs::path Scratch::view(const std::string& metadata) {
  const fs::path out = path_ / std::to_string(count_++);
  fs::create_directory(out);
  File::create(out / "metadata").append(metadata.data(), metadata.size());
  return out;
}

std::vector<Trace> traces_of(const std::vector<std::string>& inputs, Scratch& scratch, Losses& losses) {
  std::map<std::string, Trace> traces;
  for (const std::string& input : inputs) {
    std::error_code error;
    fs::directory_iterator readable(input, error);
    if (error) throw std::runtime_error(input + ": " + error.message());
    std::vector<fs::path> directories;
    find(input, 0, directories);
    if (directories.empty()) throw std::runtime_error(input + ": there is no trace in it");
    for (const fs::path& directory : directories) look_at(directory, scratch, traces, losses);
  }
  if (traces.empty() && !inputs.empty()) throw std::runtime_error(inputs.front() + ": " + losses.begin()->first);
  std::vector<Trace> out;
  for (auto& [name, trace] : traces) {
    for (auto& [key, packets] : trace.streams) put_in_order(packets);
    out.push_back(std::move(trace));
  }
  std::sort(out.begin(), out.end(), [](const Trace& a, const Trace& b) { return a.source < b.source; });
  return out;
}

Trace part_of(const Trace& trace, const Packet* begin, const Packet* end, Scratch& scratch) {
  Trace out{trace.name, trace.source, {}, {}, trace.metadata};
  const fs::path view = scratch.view(trace.metadata);
  copy(begin, end, view / "stream");
  out.views.push_back(view.string());
  out.streams["stream"] = Packets(begin, end);
  return out;
}

void discard(Trace& part) {
  std::error_code error;
  for (const std::string& view : std::exchange(part.views, {})) fs::remove_all(view, error);
  part.streams.clear();
}

}  // namespace poireau::native::babeltrace
