#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "poireau/native/babeltrace_packets.h"

/// What is sound of the traces on disk. libbabeltrace2 trusts what packets say of their own size: it takes all memory
/// there is for one of size 0, and refuses a file that is shorter than its packets say. So it is shown directories of
/// ours instead, which hold links to the files that are sound, and copies of what is of the others.
namespace poireau::native::babeltrace {

/// One trace, which may lie in several directories: LTTng begins a new one at each rotation and snapshot.
struct Trace {
  std::string name;                        // the same each time that it is looked at
  std::string source;                      // the first of its directories
  std::vector<std::string> views;          // what to read instead of them
  std::map<std::string, Packets> streams;  // of the files in views
  std::string metadata;                    // the longest of its texts: it grows
};

/// What was lost, and how often.
using Losses = std::map<std::string, uint64_t>;

/// A directory that goes when this does, with all in it.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  /// A new one in it, with this metadata.
  [[nodiscard]] fs::path view(const std::string& metadata);

 private:
  fs::path path_;
  uint64_t count_ = 0;
};

/// All traces in or under these directories. Throws std::runtime_error if one can't be read or there is none.
[[nodiscard]] std::vector<Trace> traces_of(const std::vector<std::string>& inputs, Scratch& scratch, Losses& losses);
/// A trace of some packets of one stream of another.
[[nodiscard]] Trace part_of(const Trace& trace, const Packet* begin, const Packet* end, Scratch& scratch);

/// Gives the room of that copy back.
void discard(Trace& part);

}  // namespace poireau::native::babeltrace
