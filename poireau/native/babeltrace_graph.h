#pragma once
#include <babeltrace2/babeltrace.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

/// libbabeltrace2's messages, one stream at a time. Not its muxer: a stream that turns out to be damaged would end all
/// others with it.
namespace poireau::native::babeltrace {

enum class State : uint8_t { messages, nothing_yet, end, failed };

class Graph {
 public:
  /// Of directories, which must be of one trace. Throws std::runtime_error.
  explicit Graph(const std::vector<std::string>& directories);
  /// Of what a relay daemon has.
  explicit Graph(const std::string& url);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  /// Their number. They are in the order of their files' names.
  [[nodiscard]] size_t streams() const { return ports_.size(); }
  /// "TRACE | CLASS | INSTANCE", or the path of a file instead of the last.
  [[nodiscard]] const std::string& name(size_t stream) const { return ports_[stream].name; }
  /// The next messages of a stream, good until it is asked again; after `end` or `failed`, never again.
  State next(size_t stream, std::span<const bt_message* const>& messages);
  /// Why it was `failed`.
  [[nodiscard]] const std::string& why() const { return why_; }

 private:
  struct Port {
    std::string name{};
    bt_message_iterator* iterator = nullptr;
    bt_message_array_const messages = nullptr;
    uint64_t count = 0;
    std::string failed{};  // why there is nothing more
  };
  struct Sink;  // what libbabeltrace2 calls

  void build(const char* source, const char* parameter, const bt_value* value, const char* more);
  void release(Port& port);
  void free();

  bt_graph* graph_ = nullptr;
  std::vector<Port> ports_;
  size_t wanted_ = 0;
  State state_ = State::end;
  std::string why_;
};

/// Where libbabeltrace2's components for CTF are. Throws std::runtime_error.
[[nodiscard]] const bt_plugin& ctf_plugin();
/// What this thread's last call to libbabeltrace2 had against it, in one short line; forgets it.
[[nodiscard]] std::string last_error();

}  // namespace poireau::native::babeltrace
