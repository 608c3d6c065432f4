#include <algorithm>
#include <chrono>
#include <memory>
#include <queue>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "poireau/native/babeltrace_events.h"
#include "poireau/native/babeltrace_files.h"
#include "poireau/native/babeltrace_graph.h"
#include "poireau/native/babeltrace_live.h"
#include "poireau/native/reader.h"

/// libpoireau-babeltrace.so: reader.h over libbabeltrace2.
namespace poireau::native::babeltrace {
namespace {

constexpr std::string_view kForeign = "events that are not ours", kDamaged = "damaged packets";
constexpr std::chrono::seconds kMoment(2);
constexpr int kMostAttempts = 64;  // to go on behind a damaged packet: each is a copy of what follows

/// One graph. Of files it is known which packets each stream has, so that those behind a damaged one can be read.
struct Feed {
  std::unique_ptr<Graph> graph;  // nullptr: all is read
  uint32_t number;               // of its trace
  bool live = false;
  int attempts = 0;
  Trace trace{};
  size_t open = 0;  // streams
  Plans plans{};

  [[nodiscard]] const Packets& packets_of(size_t stream) const {
    static const Packets kUnknown;
    const std::string& name = graph->name(stream);
    const size_t bar = name.find(" | ");
    const auto found = trace.streams.find(bar == name.npos ? name : name.substr(bar + 3));
    if (found != trace.streams.end()) return found->second;
    return trace.streams.size() == 1 ? trace.streams.begin()->second : kUnknown;
  }
};

/// One stream, and its next event.
struct Cursor {
  Feed* feed;
  size_t stream;
  size_t rank;  // among those of one time
  const Packets* packets;
  size_t begun = 0;                               // of these
  std::span<const bt_message* const> messages{};  // that come next
  int64_t stamp = 0;
};
struct Later {
  bool operator()(const Cursor& a, const Cursor& b) const {
    return std::pair(a.stamp, a.rank) > std::pair(b.stamp, b.rank);
  }
};

/// nullptr: libbabeltrace2 refuses it.
std::unique_ptr<Graph> graph_of(const std::vector<std::string>& views) try {
  return std::make_unique<Graph>(views);
} catch (const std::runtime_error&) {
  return nullptr;
}

}  // namespace

class Reader {
 public:
  Reader(const char* const* inputs, size_t count, bool follow) : follow_(follow) {
    for (size_t i = 0; i < count; ++i) (is_url(inputs[i]) ? urls_ : directories_).emplace_back(inputs[i]);
  }

  int32_t next(uint64_t most, PoireauBatch& batch);
  void rewind(bool follow);
  void show(PoireauTables& out) const { tables_.show(out); }
  [[nodiscard]] const char* complaint() const { return complaint_.c_str(); }
  void progress(uint64_t& done, uint64_t& all) const;
  int32_t fail(const char* why) {
    complaint_ = why;
    finish();
    return poireau_failed;
  }

 private:
  void open();
  void open_files();
  void open_live(const std::string& url);
  void add(Feed feed);
  void skip_packet(const Cursor& cursor);
  void advance(Cursor cursor);
  void poll();
  void finish();

  std::vector<std::string> directories_, urls_;
  bool follow_, open_ = false, over_ = false;
  Tables tables_;
  Columns columns_;
  Events events_{tables_, columns_};
  std::string complaint_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<std::unique_ptr<Feed>> feeds_;
  std::priority_queue<Cursor, std::vector<Cursor>, Later> ready_;
  std::vector<Cursor> waiting_;
  size_t streams_ = 0;
  uint64_t done_ = 0, all_ = 0;
};

void Reader::add(Feed feed) {
  feeds_.push_back(std::make_unique<Feed>(std::move(feed)));
  Feed& now = *feeds_.back();
  now.open = now.graph->streams();
  for (size_t i = 0, count = now.open; i < count; ++i) advance({&now, i, streams_++, &now.packets_of(i)});
}

void Reader::open_files() {
  Losses losses;
  bool none_readable = !directories_.empty();
  for (Trace& trace : traces_of(directories_, *scratch_, losses)) {
    if (trace.views.empty()) trace.views.push_back(scratch_->view(trace.metadata).string());
    for (const auto& [key, packets] : trace.streams)
      for (const Packet& packet : packets) all_ += packet.size;
    const uint32_t number = events_.trace(trace.name, trace.source);
    if (auto graph = graph_of(trace.views)) {
      add({std::move(graph), number, false, 0, std::move(trace)});
      none_readable = false;
    } else if (graph_of({scratch_->view(trace.metadata).string()}) == nullptr) {
      ++losses["metadata that libbabeltrace2 refuses"];
    } else {
      none_readable = false;  // one of its streams is at fault
      for (const auto& [key, packets] : trace.streams) {
        Trace part = part_of(trace, packets.data(), packets.data() + packets.size(), *scratch_);
        if (auto one = graph_of(part.views))
          add({std::move(one), number, false, 0, std::move(part)});
        else
          losses[std::string(kDamaged)] += packets.size();
      }
    }
  }
  if (none_readable) throw std::runtime_error(directories_.front() + ": " + losses.begin()->first);
  for (const auto& [cause, count] : losses) tables_.lose(kNone, cause, count);
}

/// Goes on behind the packet that it failed in.
void Reader::skip_packet(const Cursor& cursor) {
  const Feed& feed = *cursor.feed;
  const size_t next = std::max<size_t>(cursor.begun, 1), all = cursor.packets->size();
  tables_.lose(kNone, kDamaged);
  if (next >= all) return;
  const Packet* const begin = cursor.packets->data();
  if (feed.attempts < kMostAttempts) {
    Trace rest = part_of(feed.trace, begin + next, begin + all, *scratch_);
    if (auto graph = graph_of(rest.views))
      return add({std::move(graph), feed.number, false, feed.attempts + 1, std::move(rest)});
  }
  tables_.lose(kNone, kDamaged, all - next);
}

void Reader::open_live(const std::string& url) {
  knock(url);
  const Watch watch(url);
  Trace trace;
  trace.source = url;
  add({std::make_unique<Graph>(url), events_.trace(url, url), true, 0, std::move(trace)});
  limit_silence(url);
  if (complaint_.find("session-not-found") == complaint_.npos) return;
  const std::string there = sessions_at(url);
  complaint_ = url + ": there is no such session" + (there.empty() ? "" : "; there is " + there);
}

void Reader::open() {
  open_ = true;
  scratch_ = std::make_unique<Scratch>();
  open_files();
  for (const std::string& url : urls_) open_live(url);
}

/// To where it belongs by its next event.
void Reader::advance(Cursor cursor) {
  Feed& feed = *cursor.feed;
  for (;;) {
    for (; !cursor.messages.empty(); cursor.messages = cursor.messages.subspan(1)) {
      const bt_message* const message = cursor.messages.front();
      uint64_t count = 1;
      switch (bt_message_get_type(message)) {
        case BT_MESSAGE_TYPE_EVENT:
          cursor.stamp = Events::stamp_of(message, feed.plans);
          return ready_.push(cursor);
        case BT_MESSAGE_TYPE_PACKET_BEGINNING:
          if (cursor.begun < cursor.packets->size()) done_ += (*cursor.packets)[cursor.begun].size;
          ++cursor.begun;
          break;
        case BT_MESSAGE_TYPE_DISCARDED_EVENTS:
          if (bt_message_discarded_events_get_count(message, &count) != BT_PROPERTY_AVAILABILITY_AVAILABLE) count = 1;
          tables_.lose(kNone, "discarded by the tracer", count);
          break;
        case BT_MESSAGE_TYPE_DISCARDED_PACKETS:
          if (bt_message_discarded_packets_get_count(message, &count) != BT_PROPERTY_AVAILABILITY_AVAILABLE) count = 1;
          tables_.lose(kNone, "packets discarded by the tracer", count);
          break;
        default:
          break;
      }
    }
    switch (feed.graph->next(cursor.stream, cursor.messages)) {
      case State::messages:
        continue;
      case State::nothing_yet:
        cursor.messages = {};
        waiting_.push_back(cursor);
        return;
      case State::failed:
        if (feed.live)
          complaint_ = feed.trace.source + ": " + feed.graph->why();
        else
          skip_packet(cursor);
        [[fallthrough]];
      case State::end:
        if (--feed.open == 0) {
          feed.graph.reset();
          if (feed.attempts != 0) discard(feed.trace);
        }
        return;
    }
  }
}

/// Asks those who had nothing. Who doesn't follow wants what there is, which takes a moment to come.
void Reader::poll() {
  const auto until = std::chrono::steady_clock::now() + (follow_ ? std::chrono::seconds(0) : kMoment);
  for (;;) {
    for (const Cursor& cursor : std::exchange(waiting_, {})) advance(cursor);
    if (waiting_.empty() || !ready_.empty() || std::chrono::steady_clock::now() >= until) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

int32_t Reader::next(uint64_t most, PoireauBatch& batch) {
  columns_.clear();
  if (over_) return complaint_.empty() ? poireau_end : poireau_failed;
  if (!open_) open();
  poll();
  uint64_t foreign = 0;
  const uint64_t most_foreign = 8 * most;
  while (!ready_.empty() && columns_.events() < most && foreign < most_foreign) {
    Cursor cursor = ready_.top();
    ready_.pop();
    const bt_message* const message = cursor.messages.front();
    foreign += events_.take(message, cursor.stamp, cursor.feed->number, cursor.feed->plans) ? 0 : 1;
    cursor.messages = cursor.messages.subspan(1);
    advance(cursor);
  }
  if (foreign != 0) tables_.lose(kNone, kForeign, foreign);
  columns_.show(batch);
  if (columns_.events() != 0 || !ready_.empty()) return poireau_batch;
  if (!waiting_.empty() && follow_) return poireau_nothing_yet;
  finish();
  return complaint_.empty() ? poireau_end : poireau_failed;
}

/// Keeps nothing open.
void Reader::finish() {
  over_ = true;
  ready_ = {};
  waiting_.clear();
  feeds_.clear();
  scratch_.reset();
}

void Reader::rewind(bool follow) {
  finish();
  complaint_.clear();
  follow_ = follow;
  open_ = over_ = false;
  streams_ = done_ = all_ = 0;
  events_.rewind();
  tables_.forget_losses();
}

void Reader::progress(uint64_t& done, uint64_t& all) const {
  all = all_;
  done = over_ ? all_ : std::min(done_, all_);
}

}  // namespace poireau::native::babeltrace

struct PoireauReader : poireau::native::babeltrace::Reader {
  using Reader::Reader;
};

#define EXPORT extern "C" [[gnu::visibility("default")]]

EXPORT PoireauReader* poireau_open(const char* const* inputs, size_t count, int32_t follow) {
  return new PoireauReader(inputs, count, follow != 0);
}
EXPORT int32_t poireau_next(PoireauReader* reader, uint64_t most, PoireauBatch* batch) {
  try {
    return reader->next(most, *batch);
  } catch (const std::exception& error) {
    return reader->fail(error.what());
  }
}
EXPORT void poireau_tables(const PoireauReader* reader, PoireauTables* tables) { reader->show(*tables); }
EXPORT void poireau_rewind(PoireauReader* reader, int32_t follow) { reader->rewind(follow != 0); }
EXPORT const char* poireau_complaint(const PoireauReader* reader) { return reader->complaint(); }
EXPORT void poireau_progress(const PoireauReader* reader, uint64_t* done, uint64_t* all) {
  reader->progress(*done, *all);
}
EXPORT void poireau_close(PoireauReader* reader) { delete reader; }
