#include "preload/stack_description.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <string_view>

namespace poireau::stack {
namespace {

enum Encoding : uint8_t { kAbsolute = 0x00, kPointerFromHere4 = 0x1b, kCount4 = 0x03, kPairFromTable4 = 0x3b };
constexpr uint8_t kFormat = 0x07, kApplication = 0x70, kAligned = 0x50;

struct [[gnu::packed]] Common {  // a CIE
  uint32_t length, id;
  uint8_t version;
  char augmentation[];
};
struct [[gnu::packed]] Entry {  // an FDE
  uint32_t length, to_common;   // how far back
  uint8_t begin_and_size[];
};
struct Table {  // .eh_frame_hdr
  uint8_t version;
  Encoding pointer_encoding, count_encoding, pair_encoding;
  int32_t pointer;
  uint32_t count;
  struct {
    int32_t begin, entry;  // from the table's address
  } pairs[];               // ordered
};

/// Of either, behind its length.
const uint8_t* end_of(const void* entry) noexcept {
  const auto* const bytes = static_cast<const uint8_t*>(entry);
  uint32_t length;
  std::memcpy(&length, bytes, sizeof length);
  return bytes + sizeof length + length;
}

/// 0: not always the same, or unknown.
size_t size_of(uint8_t encoding) noexcept {
  if ((encoding & kApplication) == kAligned) return 0;
  switch (encoding & kFormat) {
    case 0:
    case 4:
      return 8;
    case 3:
      return 4;
    case 2:
      return 2;
    default:
      return 0;
  }
}

/// Reads a CIE. `encoding` is how its descriptions write addresses, `has_more` whether they hold more than DWARF has
/// them hold; false: in no way we know.
bool read_common(const Common& common, Description& out, uint8_t& encoding, bool& has_more) noexcept {
  const std::string_view augmentation = common.augmentation;
  const auto* const begin = reinterpret_cast<const uint8_t*>(augmentation.data() + augmentation.size() + 1);
  Reader from(begin, end_of(&common));
  has_more = !augmentation.empty();
  encoding = kAbsolute;
  if ((common.version != 1 && common.version != 3) || (has_more && augmentation[0] != 'z')) return false;
  out.code_unit = from.number();
  out.data_unit = from.signed_number();
  out.return_address = from.number();
  Reader more = has_more ? from.part(from.number()) : Reader();
  out.common = from;
  for (const char c : augmentation.substr(has_more)) {
    if (c == 'R') {
      encoding = more.byte();
    } else if (c == 'P') {
      const size_t size = size_of(more.byte());
      if (size == 0) return false;
      more.skip(size);
    } else if (c == 'L') {
      more.skip(1);
    } else if (c == 'S') {
      out.is_signals = true;
    } else if (c != 'B') {
      return false;
    }
  }
  return size_of(encoding) != 0;
}

/// Reads an FDE; false: it doesn't reach over `pc`, or is of a kind we don't know.
bool read_entry(const Entry& entry, uintptr_t pc, Description& out) noexcept {
  const auto* const field = reinterpret_cast<const uint8_t*>(&entry.to_common);
  uint8_t encoding;
  bool has_more;
  if (!read_common(*reinterpret_cast<const Common*>(field - entry.to_common), out, encoding, has_more)) return false;
  out.own = Reader(entry.begin_and_size, end_of(&entry));
  out.own.skip(size_of(encoding));
  const uint64_t size = out.own.fixed(size_of(encoding));
  if (has_more) out.own.skip(out.own.number());
  return pc - out.begin < size;
}

/// The last entry that does not begin behind `pc`.
const Entry* find_in(const Table& table, uintptr_t pc, uintptr_t& begin) noexcept {
  const auto base = reinterpret_cast<uintptr_t>(&table);
  const auto begin_of = [&](size_t i) { return base + static_cast<uintptr_t>(intptr_t{table.pairs[i].begin}); };
  size_t low = 0, high = table.count;  // those below `low` don't begin behind it, those from `high` on do
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (begin_of(middle) <= pc)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return nullptr;
  begin = begin_of(low - 1);
  return reinterpret_cast<const Entry*>(base + static_cast<uintptr_t>(intptr_t{table.pairs[low - 1].entry}));
}

}  // namespace

uint64_t Reader::fixed(size_t size) noexcept {
  uint64_t value = 0;
  if (end_ - at_ >= static_cast<ptrdiff_t>(size)) std::memcpy(&value, at_, size);
  skip(size);
  return value;
}

uint64_t Reader::number() noexcept {
  uint64_t value = 0;
  for (unsigned shift = 0;; shift += 7) {
    const uint8_t next = byte();
    if (shift < 64) value |= uint64_t{next & 0x7fu} << shift;
    if ((next & 0x80) == 0) return value;
  }
}

int64_t Reader::signed_number() noexcept {
  const uint8_t* const begin = at_;
  const uint64_t value = number();
  const auto bits = static_cast<unsigned>(7 * (at_ - begin));
  const bool negative = bits != 0 && bits < 64 && (value >> (bits - 1) & 1) != 0;
  return static_cast<int64_t>(negative ? value | ~uint64_t{0} << bits : value);
}

void Reader::skip(uint64_t size) noexcept {
  at_ += std::min(size, at_ < end_ ? static_cast<uint64_t>(end_ - at_) : uint64_t{0});
}

Reader Reader::part(uint64_t size) noexcept {
  const uint8_t* const begin = at_;
  skip(size);
  return {begin, at_};
}

Described describe(uintptr_t pc, Description& out) noexcept {
  dl_find_object file;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &file) != 0) return Described::no_file;
  if (file.dlfo_eh_frame == nullptr) return Described::no;
  const Table& table = *static_cast<const Table*>(file.dlfo_eh_frame);
  if (table.version != 1 || table.pointer_encoding != kPointerFromHere4 || table.count_encoding != kCount4 ||
      table.pair_encoding != kPairFromTable4)
    return Described::unknown;
  out = {};
  const Entry* const entry = find_in(table, pc, out.begin);
  if (entry == nullptr || !read_entry(*entry, pc, out)) return Described::no;
  out.entry = entry;
  return Described::yes;
}

}  // namespace poireau::stack
