#pragma once
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

/// Relay daemons. libbabeltrace2 waits for one as long as it takes, so it is asked whether it answers at all first, and
/// is given up when it falls silent.
namespace poireau::native::babeltrace {

/// Whether this names a session of a relay daemon, net://HOST[:PORT]/host/NAME/SESSION, rather than a directory.
[[nodiscard]] bool is_url(const std::string& input);
/// Throws std::runtime_error unless it names a session and the daemon answers.
void knock(const std::string& url);
/// From now on calls on this process's connections to that daemon fail when it is silent.
void limit_silence(const std::string& url);
/// While it is there, for the time before anybody could limit that of a connection: ends them when it has been so long.
class Watch {
 public:
  explicit Watch(const std::string& url);
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};
/// All its sessions as URLs, separated by commas; empty: it has none.
[[nodiscard]] std::string sessions_at(const std::string& url);

}  // namespace poireau::native::babeltrace
