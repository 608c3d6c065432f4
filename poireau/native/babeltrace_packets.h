#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "poireau/native/babeltrace_layout.h"

/// The packets of stream files: which are sound, by their beginnings, and copies of these.
namespace poireau::native::babeltrace {

namespace fs = std::filesystem;

/// A regular file.
class File {
 public:
  explicit File(const fs::path& path);
  /// A new one to be written.
  static File create(const fs::path& path);
  ~File();
  File(File&& other) noexcept;
  File& operator=(const File&) = delete;

  [[nodiscard]] bool there() const { return there_; }
  [[nodiscard]] uint64_t size() const { return size_; }
  /// As much as there is.
  size_t read(char* to, size_t size, uint64_t at) const;
  /// Throws std::system_error.
  void append(const char* from, size_t size) const;

 private:
  File(const fs::path& path, int flags);

  int number_ = -1;
  uint64_t size_ = 0;
  bool there_ = false;
};

struct Packet {
  std::shared_ptr<const fs::path> file;
  uint64_t at, size;  // bytes
  uint64_t begin;     // time; 0: not known
};

/// Packets of a stream, in the order in which libbabeltrace2 reads them.
using Packets = std::vector<Packet>;

struct Checked {
  std::map<std::string, Packets> streams;  // by "class | instance"; without instances each file is one
  uint64_t damaged = 0;                    // places where there should be a packet and isn't
};

[[nodiscard]] Checked check(const Layout& layout, const fs::path& path, const File& file);
/// Appends them to a new file. Throws std::system_error.
void copy(const Packet* begin, const Packet* end, const fs::path& to);

}  // namespace poireau::native::babeltrace
