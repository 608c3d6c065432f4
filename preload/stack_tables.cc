#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

// Where libgcc's unwinder, of which this library has a copy of its own, asks for the description (FDE) of the code at
// an address. Its own answer may lock, and for code of no file it has libgcc read that code to see what it is; an
// address off a damaged stack is nothing to read from. Ours looks into the files' tables alone, and says "the stack
// ends here" of all that it does not find there.

namespace {

enum Encoding : uint8_t { kAbsolute = 0x00, kPointerFromHere4 = 0x1b, kCount4 = 0x03, kPairFromTable4 = 0x3b };
constexpr uint8_t kFormat = 0x07, kApplication = 0x70, kAligned = 0x50;

struct [[gnu::packed]] Common {  // a CIE
  uint32_t length, id;
  uint8_t version;
  char augmentation[];
};
struct [[gnu::packed]] Description {  // an FDE
  uint32_t length, to_common;         // how far back
  unsigned char begin_and_size[];
};
struct Table {  // .eh_frame_hdr
  uint8_t version;
  Encoding pointer_encoding, count_encoding, pair_encoding;
  int32_t pointer;
  uint32_t count;
  struct {
    int32_t begin, description;  // from the table's address
  } pairs[];                     // ordered
};

/// A frame nobody has called.
struct [[gnu::packed]] {
  struct [[gnu::packed]] {
    uint32_t length = sizeof *this - sizeof length, id = 0;
    uint8_t version = 1;
    char augmentation = 0;
    uint8_t code_unit = 1, data_unit = 0x78, return_address = 16;
    uint8_t program[19] = {0x0c, 7, 8, 0x07, 16};  // its caller's stack pointer is rsp + 8; the return address has none
  } common;
  struct [[gnu::packed]] {
    uint32_t length = sizeof *this - sizeof length, to_common = sizeof common + sizeof length;
    uint64_t begin = 0, size = 0;
    uint8_t program[8] = {};
  } description;
} constexpr kEnd;
static_assert(sizeof kEnd.common % 8 == 0);

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

/// How the descriptions of a CIE write addresses; false: in no way we know.
bool encoding_of(const Common& common, uint8_t& encoding) noexcept {
  const std::string_view augmentation = common.augmentation;
  encoding = kAbsolute;
  if (augmentation.empty()) return true;
  if (augmentation[0] != 'z' || (common.version != 1 && common.version != 3)) return false;
  auto* at = reinterpret_cast<const uint8_t*>(augmentation.data() + augmentation.size() + 1);
  const auto skip_number = [&] {
    while ((*at++ & 0x80) != 0) {
    }
  };
  for (int number = 0; number < 4; ++number) skip_number();  // the units, the return address, the augmentation's size
  for (const char c : augmentation.substr(1)) {
    if (c == 'R') {
      encoding = *at;
      return size_of(encoding) != 0;
    }
    if (c == 'P' && size_of(*at) == 0) return false;
    if (c == 'P') at += size_of(*at);
    if (c == 'P' || c == 'L')
      ++at;
    else if (c != 'S' && c != 'B')
      return false;
  }
  return true;
}

/// Whether the code that begins at `begin` and that `description` is of reaches over `pc`.
bool covers(const Description& description, uintptr_t begin, uintptr_t pc) noexcept {
  const auto* const field = reinterpret_cast<const unsigned char*>(&description.to_common);
  uint8_t encoding;
  if (!encoding_of(*reinterpret_cast<const Common*>(field - description.to_common), encoding)) return false;
  uint64_t size = 0;
  std::memcpy(&size, description.begin_and_size + size_of(encoding), size_of(encoding));
  return pc - begin < size;
}

/// The last entry that does not begin behind `pc`, if it covers it.
const Description* find_in(const Table& table, uintptr_t pc, uintptr_t& begin) noexcept {
  if (table.version != 1 || table.pointer_encoding != kPointerFromHere4 || table.count_encoding != kCount4 ||
      table.pair_encoding != kPairFromTable4)
    return nullptr;
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
  const auto* const found =
      reinterpret_cast<const Description*>(base + static_cast<uintptr_t>(intptr_t{table.pairs[low - 1].description}));
  return covers(*found, begin, pc) ? found : nullptr;
}

}  // namespace

struct dwarf_eh_bases {
  void *text, *data, *function;
};

extern "C" [[gnu::visibility("hidden")]] const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases) {
  dl_find_object file;
  uintptr_t begin = reinterpret_cast<uintptr_t>(pc);
  const Description* found = nullptr;
  if (_dl_find_object(pc, &file) == 0 && file.dlfo_eh_frame != nullptr)
    found = find_in(*static_cast<const Table*>(file.dlfo_eh_frame), begin, begin);
  *bases = {nullptr, nullptr, reinterpret_cast<void*>(begin)};
  return found != nullptr ? static_cast<const void*>(found) : &kEnd.description;
}
