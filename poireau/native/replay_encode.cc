#include "poireau/native/replay_encode.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "poireau/native/replay_calls.h"
#include "poireau/native/replay_streams.h"

namespace poireau::replay {
namespace {

constexpr uint64_t kHome = (uint64_t{1} << 40) - 1;  // the bits of an id that are its home; see event.def
constexpr size_t kMostWaiting = 64 << 20;
// A thread takes again the slots that it has freed itself, so that nobody waits. Of what is beyond this (who frees what
// others make) those freed longest ago are anybody's.
constexpr size_t kMostOwn = 4096, kRipe = 4096;

struct Slot {
  uint32_t owner;  // thread that used it last
  uint32_t calls = 0;
  uint64_t id = 0, size = 0;
};
struct Line {  // a thread
  Thread facts;
  Block block{};
  std::string content;
  uint64_t last_number = 0;
  int64_t last_time = 0;
  std::vector<uint32_t> own;  // free slots
};

class Encoder {
 public:
  explicit Encoder(int out) : out_(out) {
    Header header{{}, kVersion, 0};
    std::memcpy(header.magic, kMagic, sizeof header.magic);
    out_.put(header);
    rows_.emplace_back(Row{Form::start, 0, 5, 0}, "start");
  }

  void name(uint16_t function, std::string text) { names_[function] = text.substr(0, UINT8_MAX); }

  void add(Record record) {
    if (record.kind > Record::late) throw std::runtime_error("what it was given makes no sense");
    constexpr int64_t kLong = 1'000'000;
    totals_.misordered += totals_.calls != 0 && time_ - record.time > kLong;
    time_ = totals_.calls == 0 ? record.time : std::max(time_, record.time);
    if (totals_.calls == 0) totals_.begin = time_;
    const uint32_t thread = line_of(record.thread);
    if (record.kind == Record::release) return release(record, thread);
    if (record.kind == Record::resize) {
      const auto found = at_.find(record.old & kHome);
      if (found != at_.end() && slots_[found->second].id == record.old) return resize(record, thread, found->second);
      record.kind = Record::birth;
    }
    const auto found = at_.find(record.id & kHome);
    if (found != at_.end()) {
      if (record.kind == Record::late) return forget_idle(thread);  // known, and told again
      lose(record, thread, found->second);
    }
    totals_.late += record.kind == Record::late;
    const uint32_t slot = free_slot(thread);
    at_[record.id & kHome] = slot;
    slots_[slot].id = record.id;
    put(record, Form::birth, thread, slot);
    live(slot, record.size, 1);
  }

  void finish(std::string_view facts) {
    for (uint32_t i = 0; i < lines_.size(); ++i) flush(i);
    totals_.slots = slots_.size();
    totals_.end = time_;
    totals_.functions = static_cast<uint32_t>(rows_.size());
    totals_.threads = static_cast<uint32_t>(lines_.size());
    totals_.facts = static_cast<uint32_t>(facts.size());
    std::string all;
    const auto put = [&all](const auto& value) { all.append(reinterpret_cast<const char*>(&value), sizeof value); };
    put(totals_);
    for (const auto& [row, text] : rows_) {
      put(row);
      all += text;
    }
    for (const Line& line : lines_) put(line.facts);
    all += facts;
    Footer footer{out_.written(), all.size(), checksum({reinterpret_cast<unsigned char*>(all.data()), all.size()}), {}};
    std::memcpy(footer.magic, kEndMagic, sizeof footer.magic);
    out_.put(all.data(), all.size());
    out_.put(footer);
  }

 private:
  uint32_t line_of(uint32_t id) {
    const auto [found, fresh] = numbers_.try_emplace(id, static_cast<uint32_t>(lines_.size()));
    if (fresh) lines_.push_back({{id, 0, totals_.calls}, {}, {}, 0, 0, {}});
    return found->second;
  }

  void release(const Record& record, uint32_t thread) {
    const auto found = at_.find(record.id & kHome);
    if (found == at_.end() || slots_[found->second].id != record.id) {
      ++totals_.homeless;
      return forget_idle(thread);
    }
    end(record, thread, found->second);
    at_.erase(found);
  }

  void resize(const Record& record, uint32_t thread, uint32_t slot) {
    if (record.id != record.old) {
      at_.erase(record.old & kHome);
      if (const auto there = at_.find(record.id & kHome); there != at_.end()) lose(record, thread, there->second);
      at_[record.id & kHome] = slot;
      slots_[slot].id = record.id;
    }
    put(record, Form::resize, thread, slot);
    live(slot, record.size, 0);
  }

  /// Its home was given out again, so it is gone.
  void lose(const Record& record, uint32_t thread, uint32_t slot) {
    ++totals_.unseen;
    Record gone = record;
    gone.function = kUnseen;
    end(gone, thread, slot);
  }

  void end(const Record& record, uint32_t thread, uint32_t slot) {
    put(record, Form::release, thread, slot);
    live(slot, 0, -1);
    Line& line = lines_[thread];
    if (line.own.size() < kMostOwn)
      line.own.push_back(slot);
    else
      anybodys_.push_back(slot);
  }

  uint32_t free_slot(uint32_t thread) {
    std::vector<uint32_t>& own = lines_[thread].own;
    uint32_t slot = 0;
    if (!own.empty()) {
      slot = own.back();
      own.pop_back();
    } else if (anybodys_.size() > kRipe) {
      slot = anybodys_.front();
      anybodys_.pop_front();
    } else {
      if (slots_.size() == UINT32_MAX) throw std::runtime_error("there are too many live blocks");
      slot = static_cast<uint32_t>(slots_.size());
      slots_.push_back({thread});
    }
    return slot;
  }

  void live(uint32_t slot, uint64_t size, int blocks) {
    bytes_ += size - slots_[slot].size;
    slots_[slot].size = size;
    blocks_ += static_cast<uint64_t>(blocks);
    totals_.peak_bytes = std::max(totals_.peak_bytes, bytes_);
    totals_.peak_blocks = std::max(totals_.peak_blocks, blocks_);
  }

  void put(const Record& record, Form form, uint32_t thread, uint32_t slot) {
    if (lines_[thread].facts.calls == 0) {
      lines_[thread].facts.first = totals_.calls;
      if (totals_.calls != 0) {  // whoever called last starts it
        begin_call(last_, kStart, false, thread);
        end_call(last_);
      }
    }
    Slot& at = slots_[slot];
    const bool crossing = at.owner != thread;
    // A resize keeps the alignment of what it was asked for, which is none.
    const bool aligned = record.alignment != kUsualAlignment && form == Form::birth &&
                         names_[record.function].find("realloc") == std::string::npos;
    Line& line = begin_call(thread, function(record.function, form, aligned), crossing, slot);
    if (crossing) number(line.content, at.calls);
    if (form != Form::release) number(line.content, record.size);
    if (aligned) line.content += static_cast<char>(std::min<uint8_t>(record.alignment, 40));
    ++line.block.calls;
    ++line.facts.calls;
    end_call(thread);
    at.owner = thread;
    ++at.calls;
    ++totals_.calls;
    last_ = thread;
  }

  Line& begin_call(uint32_t thread, uint8_t function, bool crossing, uint32_t slot) {
    Line& line = lines_[thread];
    if (line.content.empty()) {
      line.last_number = line.block.number = totals_.calls;
      line.last_time = line.block.time = time_;
    }
    const size_t before = line.content.size();
    line.content += static_cast<char>(function | (crossing ? kCrossing : 0));
    number(line.content, slot);
    number(line.content, totals_.calls - line.last_number);
    number(line.content, static_cast<uint64_t>(time_ - line.last_time));
    line.last_number = totals_.calls;
    line.last_time = time_;
    waiting_ += line.content.size() - before;
    return line;
  }
  void end_call(uint32_t thread) {
    if (lines_[thread].content.size() + kMostCall > kMostBlock) flush(thread);
    if (waiting_ < kMostWaiting) return;
    for (uint32_t i = 0; i < lines_.size(); ++i) flush(i);
    waiting_ = 0;
  }

  void flush(uint32_t thread) {
    Line& line = lines_[thread];
    if (line.content.empty()) return;
    waiting_ -= std::min(waiting_, line.content.size());
    line.block.magic = kBlockMagic;
    line.block.thread = thread;
    line.block.size = static_cast<uint32_t>(line.content.size());
    line.block.checksum = checksum_of(line.block, reinterpret_cast<const unsigned char*>(line.content.data()));
    out_.put(line.block);
    out_.put(line.content.data(), line.content.size());
    line.content.clear();
    line.content.shrink_to_fit();  // threads come and go
    line.block.calls = 0;
    ++totals_.blocks;
  }

  /// What made the thread known turned out to be no call. Then it is the last one that was made.
  void forget_idle(uint32_t thread) {
    if (lines_[thread].facts.calls != 0) return;
    numbers_.erase(static_cast<uint32_t>(lines_[thread].facts.id));
    lines_.pop_back();
  }

  uint8_t function(uint16_t number, Form form, bool aligned) {
    const auto [found, fresh] = functions_.try_emplace({number, form, aligned}, static_cast<uint8_t>(rows_.size()));
    if (!fresh) return found->second;
    if (rows_.size() == kMostFunctions) throw std::runtime_error("there are too many different functions");
    const std::string name = number == kUnseen ? "free" : names_[number];
    rows_.emplace_back(Row{form, aligned, static_cast<uint8_t>(name.size()), 0}, name);
    return found->second;
  }

  static void number(std::string& out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
  }

  static constexpr uint16_t kUnseen = UINT16_MAX;

  Output out_;
  Trailer totals_{};
  std::vector<std::pair<Row, std::string>> rows_;
  std::map<std::tuple<uint16_t, Form, bool>, uint8_t> functions_;
  std::unordered_map<uint16_t, std::string> names_;
  std::unordered_map<uint32_t, uint32_t> numbers_;  // thread's id -> line
  std::deque<Line> lines_;
  std::vector<Slot> slots_;
  std::deque<uint32_t> anybodys_;              // free slots
  std::unordered_map<uint64_t, uint32_t> at_;  // home -> slot
  uint64_t bytes_ = 0, blocks_ = 0;
  int64_t time_ = INT64_MIN;
  uint32_t last_ = 0;
  size_t waiting_ = 0;
};

}  // namespace

const char* encode(int in, int out) try {
  Input input(in);
  Encoder encoder(out);
  for (Record record; input.take(&record, sizeof record);) {
    if (record.kind == Record::facts) {
      encoder.finish(input.text(record.size));
      return nullptr;
    }
    if (record.kind == Record::name)
      encoder.name(record.function, input.text(record.size));
    else
      encoder.add(record);
  }
  return "what it was given breaks off";
} catch (const std::exception& error) {
  static std::string what;
  what = error.what();
  return what.c_str();
}

}  // namespace poireau::replay
