// Five leaks among things that only look like leaks, in C: see scenario.json.
#include "site.h"

enum { kSessions = 8192, kHistories = 100, kSlots = 1 << 16 };
struct Session {
  char *peer, *buffer;
  size_t bytes;
  int until;
};
struct Linked {
  struct Linked* next;
};
struct Sized {
  char* at;
  size_t size;
};
// Not static: the compiler would leave out what nobody reads.
struct Session sessions[kSessions];
struct Linked *rules, *entries[1024];
struct Sized histories[kHistories], cached[kSlots], jobs[kSlots], requests[kSlots];
char *tables[kSlots], *chunks[64];
int table_count, cached_count, chunk_count, request_count;

// Leak, steady: it is said, and forgotten.
static void note_request(void) {
  const size_t size = some_size(site_note);
  char* note = AT(note, size, malloc(size));
  snprintf(note, size, "request at tick %d", tick_now);
}

// Leak, in bursts: new rules come, the old list is not freed.
static void reload_rules(void) {
  rules = NULL;
  for (double bytes = 0; bytes < sites[site_rule].rate * 0.6;) {
    const size_t size = some_size(site_rule);
    struct Linked* rule = AT(rule, size, calloc(1, size));
    rule->next = rules, rules = rule, bytes += (double)size;
  }
}

// Leak, one a connection: the peer's name. The buffer is freed.
static void open_session(void) {
  struct Session* session = sessions;
  while (session->until) ++session;
  const size_t size = some_size(site_peer);
  session->bytes = some_size(site_buffer);
  session->peer = AT(peer, size, malloc(size));
  session->buffer = AT(buffer, session->bytes, malloc(session->bytes));
  session->until = tick_now + (int)((0.05 + 0.45 * toss()) / kTick);
  memset(session->peer, 'p', size), memset(session->buffer, 'b', session->bytes);
}

static void close_sessions(void) {
  for (struct Session* session = sessions; session < sessions + kSessions; ++session) {
    if (session->until == 0 || session->until > tick_now) continue;
    went(site_buffer, (int64_t)session->bytes);
    free(session->buffer);
    memset(session, 0, sizeof *session);
  }
}

// Leak: a cache that nobody bounds.
static void remember(void) {
  const size_t size = some_size(site_entry), slot = (size_t)(toss() * 1024);
  struct Linked* entry = AT(entry, size, malloc(size));
  entry->next = entries[slot], entries[slot] = entry;
}

// Leak: what is appended to, for ever.
static void extend_history(void) {
  struct Sized* history = &histories[(size_t)(toss() * kHistories)];
  const size_t more = some_size(site_history);
  history->at = AT(history, more, realloc(history->at, history->size + more));
  memset(history->at + history->size, 'h', more);
  history->size += more;
}

// None: made at the start, and kept.
static void load_table(void) {
  const size_t size = some_size(site_table);
  tables[table_count++ % kSlots] = AT(table, size, malloc(size));
}

// None: a cache that is full after a while, the oldest goes.
static void put_in_cache(void) {
  const int count = (int)(sites[site_cached].rate * 0.4 * ticks * kTick / sites[site_cached].size);
  struct Sized* value = &cached[cached_count++ % count];
  went(site_cached, (int64_t)value->size);
  free(value->at);
  value->size = some_size(site_cached);
  value->at = AT(cached, value->size, malloc(value->size));
}

// None: jobs that take a second, more or less.
static void start_job(void) {
  struct Sized* job = &jobs[(size_t)(toss() * sites[site_job].rate / sites[site_job].size)];
  went(site_job, (int64_t)job->size);
  free(job->at);
  job->size = some_size(site_job);
  job->at = AT(job, job->size, malloc(job->size));
}

// None: a pool that doubles while the load grows.
static void grow_pool(void) {
  static double capacity;
  const size_t size = pool_wants(capacity, chunk_count);
  if (size == 0) return;
  chunks[chunk_count++] = AT(chunk, size, malloc(size));
  capacity += (double)size;
}

// None: buffers that live for a tick.
static void serve(void) {
  while (request_count > 0) {
    went(site_request, (int64_t)requests[--request_count].size);
    free(requests[request_count].at);
  }
  for (int i = due(site_request, 1); i > 0; --i) {
    struct Sized* request = &requests[request_count++];
    request->size = some_size(site_request);
    request->at = AT(request, request->size, malloc(request->size));
  }
}

int main(int count, char** arguments) {
  begin(count, arguments);
  int burst = 0;
  do {
    serve();
    for (int i = due(site_note, 1); i > 0; --i) note_request();
    if (tick_now >= burst) reload_rules(), burst = tick_now + (int)((0.3 + 0.6 * toss()) / kTick);
    for (int i = due(site_peer, 1); i > 0; --i) open_session();
    close_sessions();
    for (int i = due(site_entry, 1); i > 0; --i) remember();
    for (int i = due(site_history, 1); i > 0; --i) extend_history();
    for (int i = progress() < 0.1 ? due(site_table, 10) : 0; i > 0; --i) load_table();
    for (int i = due(site_cached, 1); i > 0; --i) put_in_cache();
    for (int i = due(site_job, 1); i > 0; --i) start_job();
    grow_pool();
  } while (next_tick());
  tell_truth();
  _Exit(0);
}
