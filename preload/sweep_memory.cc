#include "preload/sweep_memory.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/real.h"
#include "preload/sweep_kernel.h"
#include "preload/trace.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/records.h"

extern "C" {
[[gnu::visibility("hidden")]] extern const char __ehdr_start[], _end[];
}

namespace poireau::sweep {
namespace {

using tracked_alloc::region::kPage;

/// Our region, but for what the program's first requests got.
constexpr uintptr_t kOurs[][2] = {
    {tracked_alloc::kRegion, tracked_alloc::region::kArena},
    {tracked_alloc::region::kArena + tracked_alloc::region::kArenaSize,
     tracked_alloc::kRegion + tracked_alloc::kRegionSize},
};
constexpr size_t kPiece = 64 << 10;
[[gnu::section(".lbss")]] constinit char text[16 << 10];
[[gnu::section(".lbss")]] constinit sys::PageRange ranges[512];
alignas(64) [[gnu::section(".lbss")]] constinit std::byte copy[kPiece];

/// Does what `show_memory` says, and remembers what of the kernel works here.
class Walk {
 public:
  Walk(Show show, void* to) noexcept : show_(show), to_(to) {}
  ~Walk() {
    if (pagemap_ >= 0) sys::close(pagemap_);
  }
  Walk(const Walk&) = delete;
  Walk& operator=(const Walk&) = delete;

  [[nodiscard]] bool all() noexcept {
    pagemap_ = sys::open_to_read("/proc/self/pagemap");
    if (pagemap_ < 0) return false;
    const Kept kept = show_kept_by_kernel(
        [](void* walk, uint64_t word) noexcept {
          auto& self = *static_cast<Walk*>(walk);
          self.show_(self.to_, {Area::Kind::kernel}, 0, std::as_bytes(std::span(&word, 1)));
        },
        this);
    watchers_ = kept.watchers;
    return kept.whole && mappings() && blocks();
  }

 private:
  bool mappings() noexcept;
  bool mappings_by_query(int maps, bool& works) noexcept;
  bool mappings_by_line(int maps) noexcept;
  bool blocks() noexcept;
  bool line(std::string_view line) noexcept;
  bool outside_of_ours(const Area& area) noexcept;
  bool area(const Area& area) noexcept;
  bool pages_by_query(const Area& area) noexcept;
  bool pages_by_entry(const Area& area) noexcept;
  bool pages(const Area& area, const sys::PageRange& range) noexcept;
  bool copied(const Area& area, uintptr_t begin, uintptr_t end) noexcept;

  const Show show_;
  void* const to_;
  int pagemap_ = -1;
  bool watchers_ = false, queries_ = true;
};

/// Takes a hexadecimal number and the character behind it.
uintptr_t take_number(std::string_view& from) noexcept {
  uintptr_t number = 0;
  size_t i = 0;
  for (; i < from.size(); ++i) {
    const char c = from[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) break;
    number = number * 16 + static_cast<uintptr_t>(digit);
  }
  from.remove_prefix(std::min(i + 1, from.size()));
  return number;
}

bool Walk::mappings() noexcept {
  const int file = sys::open_to_read("/proc/self/maps");
  if (file < 0) return false;
  bool queries = true;
  const bool whole = mappings_by_query(file, queries) || (!queries && mappings_by_line(file));
  sys::close(file);
  return whole;
}

/// Ours, which may be thousands, are passed over.
bool Walk::mappings_by_query(int maps, bool& works) noexcept {
  sys::Mapping found{};
  uintptr_t at = 0;
  int error;
  while ((error = sys::find_mapping(maps, at, found, {text, 256})) == 0) {
    const bool readable = (found.access & sys::kMappingRead) != 0, shared = (found.access & sys::kMappingShared) != 0;
    const bool others = shared && (found.access & sys::kMappingWrite) == 0;
    if (readable && !others && !std::string_view(text).starts_with("[v") &&
        !outside_of_ours({Area::Kind::memory, found.begin, found.end, shared, found.file}))
      return false;
    at = found.end;
    for (const auto& [begin, end] : kOurs)
      if (at >= begin && at < end) at = end;
  }
  works = at != 0;
  return works && error == -ENOENT;
}

/// Before Linux 6.11.
bool Walk::mappings_by_line(int maps) noexcept {
  size_t used = 0;
  bool whole = true;
  int64_t size;
  while (whole && (size = sys::read(maps, std::span(text).subspan(used))) > 0) {
    used += static_cast<size_t>(size);
    std::string_view left(text, used);
    for (size_t end; whole && (end = left.find('\n')) != left.npos; left.remove_prefix(end + 1))
      whole = line({left.data(), end});
    std::memmove(text, left.data(), left.size());
    used = left.size();
    if (used == sizeof text) break;  // no path is as long
  }
  return whole && used == 0;
}

/// 7f1c4a000000-7f1c4a021000 rw-p 00000000 00:00 0      name
bool Walk::line(std::string_view line) noexcept {
  Area found{Area::Kind::memory};
  found.begin = take_number(line);
  found.end = take_number(line);
  if (line.size() < 5 || line[0] != 'r') return true;
  found.shared = line[3] == 's';
  if (found.shared && line[1] != 'w') return true;  // another's
  line.remove_prefix(5);
  take_number(line);                                                      // the offset
  line.remove_prefix(std::min<size_t>(line.size(), line.find(' ') + 1));  // the device
  found.file = !line.starts_with("0 ");
  line.remove_prefix(std::min(line.size(), line.find_first_not_of("0123456789 ")));
  if (line.starts_with("[v")) return true;
  return outside_of_ours(found);
}

/// Nothing of our own data, nor of the trace: it tells of blocks by their addresses.
bool Walk::outside_of_ours(const Area& found) noexcept {
  if (found.shared && trace::maps(found.begin)) return true;
  const uintptr_t ours[][2] = {
      {kOurs[0][0], kOurs[0][1]},
      {kOurs[1][0], kOurs[1][1]},
      {linked_in() ? 0 : reinterpret_cast<uintptr_t>(__ehdr_start),
       linked_in() ? 0 : reinterpret_cast<uintptr_t>(_end)},
  };
  Area left = found;
  for (const auto& [begin, end] : ours) {
    if (end <= left.begin || begin >= left.end) continue;
    if (begin > left.begin) {
      Area before = left;
      before.end = begin;
      if (!outside_of_ours(before)) return false;
    }
    left.begin = std::min((end + kPage - 1) & ~(kPage - 1), left.end);
  }
  return left.begin >= left.end || area(left);
}

bool Walk::area(const Area& area) noexcept {
  if (queries_) {
    if (pages_by_query(area)) return true;
    if (queries_) return false;
  }
  return pages_by_entry(area);
}

bool Walk::pages_by_query(const Area& area) noexcept {
  const uint64_t none = area.shared ? 0 : sys::kPageFile | sys::kPageZero;
  constexpr uint64_t kThere = sys::kPagePresent | sys::kPageSwapped;
  sys::PageQuery query{area.begin, area.end, none, none, kThere, kThere};
  while (query.begin < area.end) {
    const int64_t got = sys::find_pages(pagemap_, query, ranges);
    if (got < 0) {
      queries_ = got != -ENOTTY && got != -EINVAL && got != -ENOSYS;
      return false;
    }
    for (int64_t i = 0; i < got; ++i)
      if (!pages(area, ranges[i])) return false;
  }
  return true;
}

/// Before Linux 6.7.
bool Walk::pages_by_entry(const Area& area) noexcept {
  constexpr uint64_t kHere = uint64_t{1} << 63, kAway = uint64_t{1} << 62, kOfFile = uint64_t{1} << 61;
  constexpr size_t kEntries = sizeof ranges / (sizeof(uint64_t));
  auto* const entries = reinterpret_cast<uint64_t*>(ranges);
  for (uintptr_t at = area.begin; at < area.end;) {
    const size_t count = std::min(kEntries, (area.end - at) / kPage);
    const int64_t got = sys::read_at(pagemap_, at / kPage * sizeof(uint64_t),
                                     {reinterpret_cast<char*>(ranges), count * sizeof(uint64_t)});
    if (got != static_cast<int64_t>(count * sizeof(uint64_t))) return false;
    for (size_t i = 0; i < count; ++i, at += kPage) {
      const uint64_t entry = entries[i];
      if ((entry & (kHere | kAway)) == 0 || ((entry & kOfFile) != 0 && !area.shared)) continue;
      if (!pages(area, {at, at + kPage, (entry & kAway) != 0 ? sys::kPageSwapped : sys::kPagePresent})) return false;
    }
  }
  return true;
}

bool Walk::pages(const Area& area, const sys::PageRange& range) noexcept {
  const bool away = (range.kinds & sys::kPageSwapped) != 0;  // or a guard
  if (away && watchers_) return false;  // whoever fetches it may have to wait for a thread that stands still
  if (away || area.shared || area.file) return copied(area, range.begin, range.end);
  show_(to_, area, range.begin, {reinterpret_cast<const std::byte*>(range.begin), range.end - range.begin});
  return true;
}

/// What may have gone when we look is none of the program's any more.
bool Walk::copied(const Area& area, uintptr_t begin, uintptr_t end) noexcept {
  while (begin < end) {
    const size_t size = std::min(end - begin, kPiece);
    const int64_t got = sys::copy_memory({copy, size}, begin);
    if (got < 0 && got != -EFAULT) return false;
    const size_t done = got > 0 ? static_cast<size_t>(got) & ~size_t{7} : 0;
    if (done != 0) show_(to_, area, begin, {copy, done});
    begin += done == size && begin + done < end ? done - sizeof(uint64_t) : done;  // a word may lie across
    if (done < size) begin = (begin + kPage) & ~(kPage - 1);
  }
  std::memset(copy, 0, sizeof copy);
  return true;
}

/// Sampled blocks, also those that a thread that stands still is busy with.
bool Walk::blocks() noexcept {
  using namespace tracked_alloc;
  if (!begun()) return true;
  bool whole = true;
  region::for_each([&](region::Id, Record& record) {
    if (!whole || !record.live() || records::lies_elsewhere(record)) return;
    const size_t size = std::max(record.size, record.room);
    const Area block{Area::Kind::block, record.address, record.address + size};
    if (size <= kPiece) {
      show_(to_, block, block.begin, {reinterpret_cast<const std::byte*>(block.begin), size});
    } else {
      Area found = block;
      found.begin &= ~(kPage - 1);
      found.end = (found.end + kPage - 1) & ~(kPage - 1);
      whole = area(found);
    }
  });
  return whole;
}

}  // namespace

bool show_memory(Show show, void* to) noexcept { return Walk(show, to).all(); }

}  // namespace poireau::sweep
