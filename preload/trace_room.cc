#include "preload/trace_room.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "config/options.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/process.h"
#include "preload/trace_directory.h"
#include "preload/trace_names.h"

namespace poireau::trace {
namespace {

constexpr uint64_t kLooks = 64;           // so many on average while trace_total bytes are written
constexpr size_t kMostEntries = 1 << 16;  // looked at in one
constexpr size_t kMostRemoved = 128;      // processes
constexpr int64_t kDay = 86400, kRest = 10;
constexpr uint64_t kBlock = 512;

struct Trace {
  Name run, process;
  uint64_t bytes;
  bool run_goes_on;

  /// Whether it is to go before the other.
  bool operator<(const Trace& other) const noexcept {
    if (run_goes_on != other.run_goes_on) return other.run_goes_on;
    const int by_run = run_goes_on ? 0 : std::memcmp(run.data(), other.run.data(), run.size());
    return by_run != 0 ? by_run < 0 : std::memcmp(process.data(), other.process.data(), process.size()) < 0;
  }
};

/// Those to go first, of any number.
class Oldest {
 public:
  void add(const Trace& trace) noexcept {
    if (size_ == kMostRemoved) {
      if (!(trace < heap_[0])) return;
      std::pop_heap(heap_, heap_ + size_--);
    }
    heap_[size_++] = trace;
    std::push_heap(heap_, heap_ + size_);
  }
  void clear() noexcept { size_ = 0; }
  [[nodiscard]] bool full() const noexcept { return size_ == kMostRemoved; }
  void sort() noexcept { std::sort_heap(heap_, heap_ + size_); }
  Trace* begin() noexcept { return heap_; }
  Trace* end() noexcept { return heap_ + size_; }

 private:
  Trace heap_[kMostRemoved];
  size_t size_;
};

/// More than a small stack has. All-zero at first.
struct Scratch {
  Oldest of_run, of_all;
  Trace current;
  char runs[16 << 10], processes[16 << 10], files[4 << 10];
};

bool is_number(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// Whether a process's trace has a file of that name.
bool is_ours(std::string_view name) noexcept {
  if (name.starts_with('.')) name.remove_prefix(1);
  for (const std::string_view stream : {std::string_view("samples_"), std::string_view("facts_")}) {
    if (!name.starts_with(stream)) continue;
    name.remove_prefix(stream.size());
    return is_number(name);
  }
  return name == "metadata";
}

/// Calls `visit(name)` for what is in the directory until that returns false. The names end with '\0'.
template <typename Visit>
void for_each_entry(const Directory& directory, std::span<char> room, Visit&& visit) noexcept {
  constexpr size_t kSize = 16, kName = 19;  // where a linux_dirent64 has them
  while (true) {
    const int64_t got = sys::list(directory.descriptor(), room);
    if (got <= 0) return;
    for (const char* at = room.data(); at < room.data() + got;) {
      uint16_t size;
      std::memcpy(&size, at + kSize, sizeof size);
      if (!visit(std::string_view(at + kName, strnlen(at + kName, size - kName)))) return;
      at += size;
    }
  }
}

Name name_of(std::string_view text) noexcept {
  Name name{};
  std::copy(text.begin(), text.end(), name.begin());
  return name;
}

/// What lies in one parent directory.
class Census {
 public:
  Census(const Directory& parent, const Place& ours, Scratch& scratch) noexcept
      : parent_(parent), ours_(ours), scratch_(scratch) {}

  void take(uint32_t user) noexcept {
    Maker self;
    user_ = user;
    home_ = know_ourselves(self) ? self.home : 0;
    now_ = sys::calendar_time();
    for_each_entry(parent_, scratch_.runs, [&](std::string_view name) {
      if (is_name_of_run(name)) look_at_run(name);
      return count();
    });
  }

  [[nodiscard]] uint64_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] bool complete() const noexcept { return entries_ < kMostEntries; }

 private:
  bool count() noexcept { return ++entries_ < kMostEntries; }

  void look_at_run(std::string_view name) noexcept {
    scratch_.current.run = name_of(name);
    const Directory run(parent_.descriptor(), scratch_.current.run.data());
    if (run.error() != 0 || run.info().owner != user_) return;
    bool goes_on = false;
    scratch_.of_run.clear();
    for_each_entry(run, scratch_.processes, [&](std::string_view process) {
      Maker maker;
      if (is_name_of_process(process, maker)) goes_on |= !look_at_process(run, process, maker);
      return count();
    });
    for (Trace& trace : scratch_.of_run) {
      trace.run_goes_on = goes_on;
      scratch_.of_all.add(trace);
    }
  }

  /// Returns whether it has ended.
  bool look_at_process(const Directory& run, std::string_view name, const Maker& maker) noexcept {
    const Directory directory(run.descriptor(), name.data());
    if (directory.error() != 0 || directory.info().owner != user_) return true;
    int64_t changed = directory.info().changed;
    uint64_t blocks = directory.info().blocks;
    bool has_ours = false, has_others = false;
    for_each_entry(directory, scratch_.files, [&](std::string_view file) {
      sys::EntryInfo info;
      if (file == "." || file == "..") return count();
      if (is_ours(file) && sys::entry_info(directory.descriptor(), file.data(), info) == 0 && !info.directory) {
        blocks += info.blocks;
        changed = std::max(changed, info.changed);
        has_ours = true;
      } else {
        has_others = true;
      }
      return count();
    });
    bytes_ += blocks * kBlock;
    if (directory.info().device == ours_.device && directory.info().inode == ours_.inode) return false;
    const bool known = home_ != 0 && maker.home == home_;
    if (known ? !ended(maker, home_) : changed + kDay > now_) return false;
    Trace& trace = scratch_.current;
    trace.process = name_of(name);
    trace.bytes = blocks * kBlock;
    if (has_ours || !has_others) scratch_.of_run.add(trace);
    return true;
  }

  const Directory& parent_;
  const Place& ours_;
  Scratch& scratch_;
  uint32_t user_ = 0, home_ = 0;
  int64_t now_ = 0;
  uint64_t bytes_ = 0;
  size_t entries_ = 0;
};

enum class Removal { done, by_another, refused };

[[gnu::noinline]] Removal remove(const Directory& parent, const Trace& trace, uint32_t user,
                                 std::span<char> room) noexcept {
  const auto result_of = [](int error) {
    return error == 0 ? Removal::done : error == ENOENT ? Removal::by_another : Removal::refused;
  };
  const Directory run(parent.descriptor(), trace.run.data());
  if (run.error() != 0 || run.info().owner != user) return result_of(run.error());
  {
    const Directory directory(run.descriptor(), trace.process.data());
    if (directory.error() != 0 || directory.info().owner != user) return result_of(directory.error());
    for_each_entry(directory, room, [&](std::string_view name) {
      if (is_ours(name)) static_cast<void>(sys::remove_file(directory.descriptor(), name.data()));
      return true;
    });
  }
  const int error = sys::remove_directory(run.descriptor(), trace.process.data());
  static_cast<void>(sys::remove_directory(parent.descriptor(), trace.run.data()));  // if this was its last one
  return result_of(error);
}

enum class Finding { fits, full, changed };

/// `changed`: others were at the same.
[[gnu::noinline]] Finding look_once(const Directory& parent, const Place& ours, uint64_t bytes, uint64_t limit,
                                    uint32_t user, Scratch& scratch) noexcept {
  scratch.of_all.clear();
  Census census(parent, ours, scratch);
  census.take(user);
  uint64_t taken = census.complete() ? census.bytes() + bytes : uint64_t{1} << 62;
  if (taken <= limit) return Finding::fits;
  // Some more, for those who are looking at the same time and find nothing to do.
  const uint64_t enough = limit - limit / 16;
  scratch.of_all.sort();
  bool alone = true;
  for (const Trace& trace : scratch.of_all) {
    if (taken <= enough) break;
    const Removal removal = remove(parent, trace, user, scratch.files);
    if (removal == Removal::done) taken -= std::min(taken, trace.bytes);
    if (removal == Removal::by_another) alone = false;
  }
  if (taken <= limit || scratch.of_all.full()) return Finding::fits;
  return alone ? Finding::full : Finding::changed;
}

[[gnu::noinline]] bool fits(const Directory& parent, const Place& ours, uint64_t bytes, uint64_t limit,
                            uint32_t user) noexcept {
  auto* const scratch = static_cast<Scratch*>(sys::map(sizeof(Scratch)));
  if (scratch == nullptr) return true;
  Finding finding = Finding::changed;
  for (int left = 4; finding == Finding::changed && left > 0; --left)
    finding = look_once(parent, ours, bytes, limit, user, *scratch);
  sys::unmap(scratch, sizeof(Scratch));
  return finding != Finding::full;
}

/// A mark in the parent that all of it is in use, so that not each process has to find out by itself. For a while.
class Full {
 public:
  Full(const Directory& parent, uint32_t user) noexcept : parent_(parent.descriptor()) {
    constexpr std::string_view kStem = ".full-";
    write_number(std::copy(kStem.begin(), kStem.end(), name_), user);
    sys::EntryInfo info;
    marked_ = sys::entry_info(parent_, name_, info) == 0 && info.directory && info.owner == user;
    at_ = info.changed;
  }
  [[nodiscard]] bool marked() const noexcept { return marked_; }
  /// False: it is fresh, or another process is about to look again.
  [[nodiscard]] bool renew() noexcept {
    const int64_t age = sys::calendar_time() - at_;
    return (age < 0 || age >= kRest) && sys::remove_directory(parent_, name_) == 0 && mark();
  }
  bool mark() noexcept { return sys::make_directory(parent_, name_) == 0; }
  void clear() noexcept { static_cast<void>(sys::remove_directory(parent_, name_)); }

 private:
  int parent_;
  bool marked_;
  int64_t at_;
  char name_[17]{};
};

bool toss(uint64_t bytes, uint64_t limit) noexcept {
  static constinit std::atomic<uint64_t> tosses{0};
  const process::RunId id = process::run_id();
  const uint64_t fraction = scramble(id.high + scramble(id.low + tosses.fetch_add(1, std::memory_order_relaxed)));
  return multiply_high(limit, fraction) / kLooks < bytes;
}

}  // namespace

bool make_room(const Place& place, uint64_t bytes) noexcept {
  const uint64_t limit = options.trace_total.load(std::memory_order_relaxed);
  if (limit == 0) return true;
  uint32_t user;
  const Directory own(sys::kAnywhere, place.path.data());
  const Directory parent(own.descriptor(), "../..");
  // Whoever is about to write will find out what is wrong.
  if (own.error() != 0 || parent.error() != 0 || !sys::user_id(user)) return true;
  Full full(parent, user);
  if (full.marked() ? !full.renew() : !toss(bytes, limit)) return !full.marked();
  const bool there_is = fits(parent, place, bytes, limit, user);
  if (full.marked() && there_is) full.clear();
  if (!full.marked() && !there_is) full.mark();
  return there_is;
}

}  // namespace poireau::trace
