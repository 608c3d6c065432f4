#include "preload/notes.h"

#include <iterator>

#include "preload/depot.h"
#include "tracked_alloc/records.h"

namespace poireau::notes {
namespace {

// From the highest bit: 1, 8 bits of a Kind, 32 of a stack's number; or 0, 4 bits of a name below, 43 of an address; or
// what samples have (records.h), which has its Kind where the first has it.
namespace records = tracked_alloc::records;
using tracked_alloc::Block;

constexpr Note kHasStack = Note{1} << 47;
constexpr unsigned kKindAt = records::kKindAt, kNameAt = records::kMarkAt;
constexpr Note kAddressMask = (Note{1} << kNameAt) - 1;

constexpr Kind kUnknown{0xfd};
constexpr Kind kNames[] = {kUnknown,           Kind::malloc,   Kind::calloc,        Kind::realloc,
                           Kind::reallocarray, Kind::memalign, Kind::aligned_alloc, Kind::posix_memalign,
                           Kind::valloc,       Kind::pvalloc,  Kind::_Znwm,         Kind::_Znam};
static_assert(std::size(kNames) <= records::kMark);

constexpr auto kNameOf = for_each_symbol<kKindSymbols>([](std::string_view symbol) -> uint8_t {
  if (symbol.starts_with("_Znw")) symbol = "_Znwm";
  if (symbol.starts_with("_Zna")) symbol = "_Znam";
  for (uint8_t name = 1; name < std::size(kNames); ++name)
    if (symbol == kKindSymbols[static_cast<size_t>(kNames[name])]) return name;
  return 0;
});

/// Where Linux puts code: fixed programs and what is made beside them, programs, libraries.
struct Window {
  uintptr_t begin, end;
};
constexpr uintptr_t kTib = uintptr_t{1} << 40;
constexpr Window kWindows[] = {{0, kTib}, {85 * kTib, 87 * kTib}, {125 * kTib, 128 * kTib}};

/// 0: it lies in none.
Note pack(uintptr_t address) noexcept {
  Note before = 0;
  for (const Window& window : kWindows) {
    if (address - window.begin < window.end - window.begin) return before + (address - window.begin);
    before += window.end - window.begin;
  }
  return 0;
}

uintptr_t unpack(Note address) noexcept {
  for (const Window& window : kWindows) {
    if (address < window.end - window.begin) return window.begin + address;
    address -= window.end - window.begin;
  }
  return 0;
}

}  // namespace

Note of_caller(Kind kind, const void* caller) noexcept {
  const auto row = static_cast<size_t>(kind);
  const Note name = row < kNameOf.size() ? kNameOf[row] : 0;
  return name << kNameAt | pack(reinterpret_cast<uintptr_t>(caller));
}

Note of_stack(Kind kind, uint32_t stack) noexcept {
  return kHasStack | Note{static_cast<uint8_t>(kind)} << kKindAt | stack;
}

Kind kind_of(Note note) noexcept {
  if ((note & kHasStack) != 0 || records::is_sample(note)) return static_cast<Kind>(note >> kKindAt & 0xff);
  return kNames[note >> kNameAt & 0xf];
}

uint32_t stack_of(Note note) noexcept {
  if ((note & kHasStack) != 0) return static_cast<uint32_t>(note);
  if (records::is_sample(note)) return 0;
  const uintptr_t caller = unpack(note & kAddressMask);
  return caller == 0 ? 0 : depot::intern({&caller, 1});
}

void look_up(Block& block) noexcept {
  block.kind = block.born == 0 ? kForgotten : static_cast<uint8_t>(kind_of(block.born));
  block.birth.stack = stack_of(block.born);
  if (!block.live) block.death.stack = stack_of(block.died);
  tracked_alloc::region::Id id;
  Block known;
  if (!records::id_of(block.born, id) || !records::find(id, block.address, known)) return;
  block.size = known.size;
  block.alignment_log2 = known.alignment_log2;
  block.birth = known.birth;
  if (!block.live && !known.live) block.death = known.death;
}

}  // namespace poireau::notes
