#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>
#include <string_view>

#include "preload/kinds.h"
#include "tracked_alloc/records.h"
#include "tracked_alloc/verdict.h"

/// What a remapped block remembers of its birth and of its death, in 48 bits: the function that was called, and from
/// where; the stack's number, or the caller alone.
namespace poireau::notes {

using tracked_alloc::remap::Note;

// From the highest bit: 1, 8 bits of a Kind, 32 of a stack's number; or 0, 4 bits of a name below, 43 of an address; or
// what samples have (records.h), which has its Kind where the first has it.
constexpr Note kHasStack = Note{1} << 47;
constexpr unsigned kKindAt = tracked_alloc::records::kKindAt, kNameAt = tracked_alloc::records::kMarkAt;

constexpr Kind kUnknown{0xfd};
inline constexpr Kind kNames[] = {kUnknown,           Kind::malloc,   Kind::calloc,        Kind::realloc,
                                  Kind::reallocarray, Kind::memalign, Kind::aligned_alloc, Kind::posix_memalign,
                                  Kind::valloc,       Kind::pvalloc,  Kind::_Znwm,         Kind::_Znam};
static_assert(std::size(kNames) <= tracked_alloc::records::kMark);

inline constexpr auto kNameOf = for_each_symbol<kKindSymbols>([](std::string_view symbol) -> uint8_t {
  if (symbol.starts_with("_Znw")) symbol = "_Znwm";
  if (symbol.starts_with("_Zna")) symbol = "_Znam";
  for (uint8_t name = 1; name < std::size(kNames); ++name)
    if (symbol == kKindSymbols[static_cast<size_t>(kNames[name])]) return name;
  return 0;
});

/// The TiB where Linux puts code: fixed programs and what is made beside them, programs, libraries.
inline constexpr uint8_t kTibs[] = {0, 85, 86, 125, 126, 127};
constexpr unsigned kTibShift = 40;
inline constexpr auto kNumberOfTib = [] {
  std::array<uint8_t, 128> out{};
  for (uint8_t number = 0; number < std::size(kTibs); ++number) out[kTibs[number]] = number + 1;
  return out;
}();
static_assert(std::size(kTibs) < 1 << (kNameAt - kTibShift));

/// 0: it lies in none of them.
constexpr Note pack(uintptr_t address) noexcept {
  const uint64_t number = kNumberOfTib[address >> kTibShift & 127];
  return number == 0 ? 0 : number << kTibShift | (address & ((Note{1} << kTibShift) - 1));
}
constexpr uintptr_t unpack(Note packed) noexcept {
  const uint64_t number = packed >> kTibShift & 7;
  return number == 0 ? 0 : uintptr_t{kTibs[number - 1]} << kTibShift | (packed & ((Note{1} << kTibShift) - 1));
}

[[nodiscard]] constexpr Note of_caller(Kind kind, const void* caller) noexcept {
  const auto row = static_cast<size_t>(kind);
  const Note name = row < kNameOf.size() ? kNameOf[row] : 0;
  return name << kNameAt | pack(reinterpret_cast<uintptr_t>(caller));
}
/// `stack`: its number (depot.h); never 0.
[[nodiscard]] Note of_stack(Kind kind, uint32_t stack) noexcept;

/// Of all forms of an operator it may be the first one. A value that is no Kind: unknown.
[[nodiscard]] constexpr Kind kind_of(Note note) noexcept {
  if ((note & kHasStack) != 0 || tracked_alloc::records::is_sample(note))
    return static_cast<Kind>(note >> kKindAt & 0xff);
  return kNames[note >> kNameAt & 0xf];
}
/// The number of its stack, which may be the caller alone; 0: nothing is known.
[[nodiscard]] uint32_t stack_of(Note note) noexcept;

/// Puts what the notes of a remapped block say where other blocks have it. Time and thread stay 0,
/// except a sample's.
void look_up(tracked_alloc::Block& block) noexcept;

}  // namespace poireau::notes
