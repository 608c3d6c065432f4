#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "poireau/native/decode_files.h"
#include "poireau/native/decode_packet.h"

/// The events of a stream (stem_1, stem_2, ...) in the order in which they were written. A writer may be at work: he
/// adds to the last packet that holds something, or goes on to one behind it; removes the oldest file; or overwrites
/// it, which then gets a new number, and that is in its packets only.
namespace poireau::native {

/// In all files of this stream.
[[nodiscard]] uint64_t bytes_of_stream(Directory& directory, std::string_view stem);

class Stream {
 public:
  using Lose = std::function<void(std::string_view cause, uint64_t count)>;
  Stream(Directory& directory, std::string stem, Lose lose);

  /// Whether there is an event at hand. If not, `load` looks for more; false: there is nothing, now.
  [[nodiscard]] bool ready() const { return next_ < events_.size(); }
  bool load();
  [[nodiscard]] const Event& head() const { return events_[next_]; }
  [[nodiscard]] std::span<const char> packet() const { return std::span(bytes_).first(read_); }
  void pop() { ++next_; }
  /// The one that comes so many events behind the head; nullptr: not yet known.
  [[nodiscard]] const Event* behind(size_t distance) const {
    return next_ + distance < events_.size() ? &events_[next_ + distance] : nullptr;
  }

  /// Holds no descriptor and no buffer until the next `load`. Only when nothing is at hand.
  void rest();
  /// Bytes of files that have been passed.
  [[nodiscard]] uint64_t done() const { return done_; }

 private:
  void look_for_files();
  [[nodiscard]] bool holds_something(File& file, uint64_t from) const;
  [[nodiscard]] bool is_there(const std::string& name);
  [[nodiscard]] bool more_follows();
  [[nodiscard]] bool open_file();
  void leave_file();
  void read_packet();
  void count_missing(uint64_t sequence);
  void leave_packet();
  void blame(std::string_view cause);

  Directory& directory_;
  const std::string stem_;
  const Lose lose_;
  std::map<std::string, uint32_t> numbers_;     // of files that have been seen, by name
  std::multimap<uint32_t, std::string> ahead_;  // to be read
  std::string name_;                            // of the file that is read, or was last
  std::unique_ptr<File> file_;                  // may be nullptr while it is read
  bool in_file_ = false;
  uint32_t number_ = 0;  // of the file; 0: there was none yet
  uint64_t packets_ = 0, packet_ = 0;
  size_t read_ = 0;        // of the packet
  bool over_ = false;      // nothing will be added to the packet
  bool blamed_ = false;    // the packet
  uint64_t bad_ = 0;       // packets in a row
  uint32_t jumped_ = 0;    // files, before this packet
  uint64_t sequence_ = 0;  // of the packet, unless some before it are missing
  bool numbered_ = false;  // that is known
  uint64_t done_ = 0;
  std::vector<char> bytes_;
  std::vector<Event> events_;
  size_t next_ = 0;
};

}  // namespace poireau::native
