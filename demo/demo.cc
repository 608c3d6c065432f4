// A key-value server on loopback, a thread a connection. Lines in, lines out:
//   get KEY        its value, made when first asked for and kept in a cache of at most 16 MiB
//   upload ID N    takes N bytes; sum ID adds them up; cancel ID drops them
//   truth          what has been leaked, as JSON
// It has two bugs. Each `get` makes a record of who asked for what, which nobody frees; and `cancel` frees the bytes,
// but leaves the upload in the list, so that `sum` still finds it.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <list>
#include <map>
#include <mutex>
#include <numeric>
#include <sstream>
#include <string>
#include <thread>
#include <unordered_map>

struct Record {
  char who[64], what[1984];
};
std::atomic<size_t> records;

struct Upload {
  unsigned char* bytes;
  size_t size;
};

std::mutex lock;
std::map<std::string, Upload> uploads;
std::unordered_map<std::string, std::string> cache;
std::list<std::string> oldest_first;

void note(const std::string& who, const std::string& what) {
  Record* record = new Record;  // the leak
  snprintf(record->who, sizeof record->who, "%s", who.c_str());
  snprintf(record->what, sizeof record->what, "%s", what.c_str());
  ++records;
}

std::string get(const std::string& key) {
  if (const auto found = cache.find(key); found != cache.end()) return found->second;
  if (oldest_first.size() == 4096) {
    cache.erase(oldest_first.front());
    oldest_first.pop_front();
  }
  oldest_first.push_back(key);
  std::string value(4096, key.back());  // the cache
  return cache.emplace(key, std::move(value)).first->second;
}

std::string upload(const std::string& id, size_t size) {
  if (size == 0 || size > 1 << 24) return "between 1 byte and 16 MiB";
  Upload& it = uploads[id] = {new unsigned char[size], size};
  memset(it.bytes, 1, size);
  return "taken";
}

std::string cancel(const std::string& id) {
  delete[] uploads[id].bytes;  // and uploads.erase(id) is missing
  return "dropped";
}

std::string sum(const std::string& id) {
  const Upload& it = uploads[id];
  return std::to_string(std::accumulate(it.bytes, it.bytes + it.size, size_t{0}));
}

std::string answer(const std::string& line, const std::string& who) {
  std::istringstream words(line);
  std::string verb, key;
  size_t size = 0;
  words >> verb >> key >> size;
  const std::lock_guard<std::mutex> guard(lock);
  if (verb == "get" && !key.empty()) return note(who, line), get(key);
  if (verb == "upload") return upload(key, size);
  if (verb == "cancel") return cancel(key);
  if (verb == "sum") return sum(key);
  return "{\"leaked_records\": " + std::to_string(records) +
         ", \"leaked_bytes\": " + std::to_string(records * sizeof(Record)) + "}";
}

void serve(int connection) {
  std::string pending;
  char piece[4096];
  for (ssize_t got; (got = read(connection, piece, sizeof piece)) > 0;) {
    pending.append(piece, size_t(got));
    for (size_t end; (end = pending.find('\n')) != std::string::npos; pending.erase(0, end + 1)) {
      const std::string line = answer(pending.substr(0, end), "client " + std::to_string(connection)) + '\n';
      if (write(connection, line.data(), line.size()) < 0) break;
    }
  }
  close(connection);
}

int main() {
  const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 || listen(listener, 64) != 0) return 1;
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  printf("port %d, pid %d\n", ntohs(address.sin_port), getpid()), fflush(stdout);
  for (int connection; (connection = accept(listener, nullptr, nullptr)) >= 0;) {
    setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    std::thread(serve, connection).detach();
  }
}
