// Five leaks among things that only look like leaks, in C++: see scenario.json.
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "site.h"

namespace {

using Bytes = std::vector<char>;
using Buffer = std::unique_ptr<char[]>;

struct Session {
  char* peer;
  Buffer buffer;
  size_t bytes;
};

// Leak, steady: it is said, and forgotten.
void note_request() {
  const size_t size = some_size(site_note);
  char* note = AT(note, size, new char[size]);
  snprintf(note, size, "request at tick %d", tick_now);
}

struct Rule {
  explicit Rule(std::shared_ptr<Rule> after) : next(std::move(after)) {}
  std::shared_ptr<Rule> next, first;
  char* text = nullptr;
};

// Leak, in bursts: the last of the old rules points at the first, so that none of them ever goes.
void reload_rules() {
  static std::shared_ptr<Rule> rules;
  rules = std::make_shared<Rule>(nullptr);
  const std::shared_ptr<Rule> last = rules;
  for (double bytes = 0; bytes < sites[site_rule].rate * 0.6;) {
    const size_t size = some_size(site_rule);
    rules = std::make_shared<Rule>(std::move(rules));
    rules->text = AT(rule, size, new char[size]());
    bytes += double(size);
  }
  last->first = rules;
}

// Leak, one a connection: the peer's name. The buffer is freed with the session.
void open_session(std::unordered_multimap<int, Session>& sessions) {
  const size_t size = some_size(site_peer), bytes = some_size(site_buffer);
  Session session{AT(peer, size, new char[size]), nullptr, bytes};
  session.buffer = AT(buffer, bytes, std::make_unique<char[]>(bytes));
  memset(session.peer, 'p', size);
  sessions.emplace(tick_now + int((0.05 + 0.45 * toss()) / kTick), std::move(session));
}

void close_sessions(std::unordered_multimap<int, Session>& sessions) {
  const auto [first, last] = sessions.equal_range(tick_now);
  for (auto each = first; each != last; ++each) went(site_buffer, int64_t(each->second.bytes));
  sessions.erase(first, last);
}

// Leak: a cache that nobody bounds.
void remember(std::unordered_map<uint64_t, std::string>& cache) {
  const size_t size = some_size(site_entry);
  std::string value = AT(entry, size, std::string(size, 'e'));
  cache.emplace(dice, std::move(value));
}

// Leak: what is appended to, for ever.
void extend_history(std::vector<Bytes>& histories) {
  Bytes& history = histories[size_t(toss() * double(histories.size()))];
  const size_t more = some_size(site_history);
  AT(history, more, history.reserve(history.size() + more));
  history.resize(history.size() + more, 'h');
}

// None: made at the start, and kept.
void load_table(std::vector<Bytes>& tables) {
  const size_t size = some_size(site_table);
  Bytes table = AT(table, size, Bytes(size));
  tables.push_back(std::move(table));
}

// None: a cache that is full after a while, the oldest goes.
void put_in_cache(std::deque<Bytes>& cache) {
  const size_t size = some_size(site_cached);
  Bytes value = AT(cached, size, Bytes(size));
  cache.push_back(std::move(value));
  if (double(cache.size()) * sites[site_cached].size < sites[site_cached].rate * 0.4 * ticks * kTick) return;
  went(site_cached, int64_t(cache.front().size()));
  cache.pop_front();
}

// None: jobs that take a second, more or less.
void start_job(std::vector<Bytes>& jobs) {
  Bytes& job = jobs[size_t(toss() * double(jobs.size()))];
  const size_t size = some_size(site_job);
  went(site_job, int64_t(job.size()));
  job = AT(job, size, Bytes(size));
}

// None: a pool that doubles while the load grows.
void grow_pool(std::vector<Buffer>& pool) {
  static double capacity;
  const size_t size = pool_wants(capacity, int(pool.size()));
  if (size == 0) return;
  pool.push_back(AT(chunk, size, std::make_unique<char[]>(size)));
  capacity += double(size);
}

// None: buffers that live for a tick.
void serve(std::vector<Bytes>& requests) {
  for (const Bytes& request : requests) went(site_request, int64_t(request.size()));
  requests.clear();
  for (int i = due(site_request, 1); i > 0; --i) {
    const size_t size = some_size(site_request);
    Bytes request = AT(request, size, Bytes(size));
    requests.push_back(std::move(request));
  }
}

}  // namespace

int main(int count, char** arguments) {
  begin(count, arguments);
  std::unordered_multimap<int, Session> sessions;
  std::unordered_map<uint64_t, std::string> cache;
  std::vector<Bytes> histories(100), tables, jobs(size_t(sites[site_job].rate / sites[site_job].size)), requests;
  std::deque<Bytes> bounded;
  std::vector<Buffer> pool;
  int burst = 0;
  do {
    serve(requests);
    for (int i = due(site_note, 1); i > 0; --i) note_request();
    if (tick_now >= burst) reload_rules(), burst = tick_now + int((0.3 + 0.6 * toss()) / kTick);
    for (int i = due(site_peer, 1); i > 0; --i) open_session(sessions);
    close_sessions(sessions);
    for (int i = due(site_entry, 1); i > 0; --i) remember(cache);
    for (int i = due(site_history, 1); i > 0; --i) extend_history(histories);
    for (int i = progress() < 0.1 ? due(site_table, 10) : 0; i > 0; --i) load_table(tables);
    for (int i = due(site_cached, 1); i > 0; --i) put_in_cache(bounded);
    for (int i = due(site_job, 1); i > 0; --i) start_job(jobs);
    grow_pool(pool);
  } while (next_tick());
  tell_truth();
  _Exit(0);
}
