#include "poireau/native/babeltrace_live.h"

#include <arpa/inet.h>
#include <babeltrace2/babeltrace.h>
#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "poireau/native/babeltrace_graph.h"

namespace poireau::native::babeltrace {
namespace {

constexpr int kPatience = 5;  // seconds
constexpr uint16_t kPort = 5344;

struct Url {
  std::string host;
  uint16_t port = kPort;
  bool session = false;
};

[[noreturn]] void refuse(const std::string& url, const std::string& why) { throw std::runtime_error(url + ": " + why); }

Url parse(const std::string& url) {
  Url out;
  const size_t begin = url.find("://") + 3, slash = std::min(url.find('/', begin), url.size());
  out.host = url.substr(begin, slash - begin);
  if (const size_t colon = out.host.rfind(':'); colon != out.host.npos) {
    const char* const from = out.host.data() + colon + 1;
    const char* const end = out.host.data() + out.host.size();
    const auto [to, error] = std::from_chars(from, end, out.port);
    if (error != std::errc() || to != end || out.port == 0) refuse(url, "its port is not a number");
    out.host.resize(colon);
  }
  if (out.host.empty()) refuse(url, "it has no host");
  // /host/NAME/SESSION
  const std::string path = url.substr(slash);
  const size_t name_end = path.find('/', std::strlen("/host/"));
  out.session = path.starts_with("/host/") && name_end != path.npos && name_end + 1 < path.size();
  return out;
}

/// The one that libbabeltrace2 takes.
sockaddr_in address_of(const std::string& url) {
  const Url parts = parse(url);
  addrinfo hints{}, *found = nullptr;
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  const int error = getaddrinfo(parts.host.c_str(), std::to_string(parts.port).c_str(), &hints, &found);
  if (error != 0) refuse(url, gai_strerror(error));
  sockaddr_in out;
  std::memcpy(&out, found->ai_addr, sizeof out);
  freeaddrinfo(found);
  return out;
}

void set_patience(int number) {
  const timeval most{kPatience, 0};
  setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &most, sizeof most);
  setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most);  // for connect() too
}

/// Of this process, to that peer.
template <typename Visit>
void for_each_connection(const sockaddr_in& wanted, Visit&& visit) {
  const std::unique_ptr<DIR, int (*)(DIR*)> files(opendir("/proc/self/fd"), closedir);
  if (files == nullptr) return;
  while (const dirent* const entry = readdir(files.get())) {
    const int number = std::atoi(entry->d_name);
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    if (getpeername(number, reinterpret_cast<sockaddr*>(&peer), &size) == 0 && peer.sin_family == AF_INET &&
        peer.sin_port == wanted.sin_port && peer.sin_addr.s_addr == wanted.sin_addr.s_addr)
      visit(number);
  }
}

class Socket {
 public:
  Socket() : number_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) { set_patience(number_); }
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;
  operator int() const { return number_; }

 private:
  int number_;
};

struct Put {
  void operator()(const bt_value* value) const { bt_value_put_ref(value); }
  void operator()(const bt_query_executor* executor) const { bt_query_executor_put_ref(executor); }
};

std::string text_of(const bt_value* map, const char* key) {
  const bt_value* const value = bt_value_map_borrow_entry_value_const(map, key);
  return value != nullptr && bt_value_is_string(value) ? bt_value_string_get(value) : "";
}

}  // namespace

bool is_url(const std::string& input) { return input.starts_with("net://") || input.starts_with("net4://"); }

void knock(const std::string& url) {
  // Its protocol's first words: how long what follows is, what it is, its version; the session, ours, and who we are.
  constexpr std::array<uint8_t, 36> kHello = {0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0,
                                              0, 0, 0, 0, 0, 0, 0, 0,  0, 2, 0, 0, 0, 4, 0, 0, 0, 1};
  std::array<uint8_t, 20> answer{};  // the same again, its own
  const sockaddr_in address = address_of(url);
  const Socket peer;
  if (connect(peer, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    refuse(url, errno == EINPROGRESS ? "nobody answers" : std::strerror(errno));
  if (send(peer, kHello.data(), kHello.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kHello.size()))
    refuse(url, std::strerror(errno));
  const ssize_t got = recv(peer, answer.data(), answer.size(), MSG_WAITALL);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) refuse(url, "nobody answers");
  if (got != static_cast<ssize_t>(answer.size()) || answer[11] != 2)
    refuse(url, "what answers there is not LTTng's relay daemon");
  if (!parse(url).session) {
    const Watch watch(url);
    const std::string there = sessions_at(url);
    refuse(url, there.empty() ? "it has no session to follow" : "which session? " + there);
  }
}

void limit_silence(const std::string& url) {
  for_each_connection(address_of(url), [](int number) { set_patience(number); });
}

Watch::Watch(const std::string& url) {
  sigset_t all, before;  // signals are for the threads of who called
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this, peer = address_of(url)] {
    std::unique_lock lock(lock_);
    if (!changed_.wait_for(lock, std::chrono::seconds(kPatience), [this] { return over_; }))
      for_each_connection(peer, [](int number) { shutdown(number, SHUT_RDWR); });
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Watch::~Watch() {
  {
    const std::lock_guard lock(lock_);
    over_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

std::string sessions_at(const std::string& url) {
  const bt_component_class_source* const live =
      bt_plugin_borrow_source_component_class_by_name_const(&ctf_plugin(), "lttng-live");
  if (live == nullptr) return {};
  const std::string daemon = url.substr(0, std::min(url.find('/', url.find("://") + 3), url.size()));
  const std::unique_ptr<bt_value, Put> parameters(bt_value_map_create());
  bt_value_map_insert_string_entry(parameters.get(), "url", daemon.c_str());
  const std::unique_ptr<bt_query_executor, Put> query(
      bt_query_executor_create(bt_component_class_source_as_component_class_const(live), "sessions", parameters.get()));
  const bt_value* answer = nullptr;
  std::string out;
  if (query == nullptr || bt_query_executor_query(query.get(), &answer) != BT_QUERY_EXECUTOR_QUERY_STATUS_OK) {
    bt_current_thread_clear_error();
    return out;
  }
  const std::unique_ptr<const bt_value, Put> sessions(answer);
  for (uint64_t i = 0; bt_value_is_array(answer) && i < bt_value_array_get_length(answer); ++i) {
    const bt_value* const session = bt_value_array_borrow_element_by_index_const(answer, i);
    if (!bt_value_is_map(session)) continue;
    if (!out.empty()) out += ", ";
    out += daemon + "/host/" + text_of(session, "target-hostname") + "/" + text_of(session, "session-name");
  }
  return out;
}

}  // namespace poireau::native::babeltrace
