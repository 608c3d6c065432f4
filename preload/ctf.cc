#include "preload/ctf.h"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstring>

namespace poireau::ctf {
namespace {

namespace kinds = event::kinds;

constexpr size_t kEventHeader = sizeof(uint16_t) + sizeof(uint64_t);
constexpr size_t kLongest = UINT16_MAX;  // of a sequence

/// Part of an event's struct: neighbouring numbers, which lie in a packet as they lie in memory, and what follows them.
struct Piece {
  enum class Next : uint8_t { numbers, text, bytes, frames, end };
  uint8_t numbers = 0, size = 0;
  Next next = Next::numbers;
  uint8_t at = 0;
};

constexpr Piece::Next kind_of(kinds::text) noexcept { return Piece::Next::text; }
constexpr Piece::Next kind_of(kinds::bytes) noexcept { return Piece::Next::bytes; }
constexpr Piece::Next kind_of(kinds::frames) noexcept { return Piece::Next::frames; }
constexpr Piece::Next kind_of(kinds::hex) noexcept { return Piece::Next::numbers; }
constexpr Piece::Next kind_of(std::unsigned_integral auto) noexcept { return Piece::Next::numbers; }

constexpr size_t kFields = 0
#define FIELD(kind, name, help) +1
#define EVENT(name, Name, help, ...) __VA_ARGS__
#include "preload/event.def"
#undef EVENT
#undef FIELD
    ;

/// Of all events, one after the other. `sizes`: of an event that has nothing in its texts and sequences.
struct Pieces {
  std::array<Piece, kFields + event::kTypes> all{};
  std::array<uint8_t, event::kTypes> begins{}, sizes{};
};

consteval Pieces cut_up() {
  Pieces out;
  size_t type = 0;
  Piece* last = out.all.data();
  const auto add = [&](Piece::Next kind, size_t at, size_t size) {
    const bool number = kind == Piece::Next::numbers;
    out.sizes[type] = static_cast<uint8_t>(out.sizes[type] + (number ? size : kind == Piece::Next::text ? 1 : 2));
    if (!number) {
      last->next = kind;
      last++->at = static_cast<uint8_t>(at);
      return;
    }
    if (last->size != 0 && last->numbers + last->size != at) ++last;
    if (last->size == 0) last->numbers = static_cast<uint8_t>(at);
    last->size = static_cast<uint8_t>(last->size + size);
  };
#define FIELD(kind, name, help) add(kind_of(kinds::kind()), offsetof(Event, name), sizeof(kinds::kind));
#define EVENT(name, Name, help, ...)                                \
  {                                                                 \
    using Event = event::Name;                                      \
    static_assert(sizeof(Event) <= UINT8_MAX);                      \
    out.begins[type] = static_cast<uint8_t>(last - out.all.data()); \
    out.sizes[type] = kEventHeader;                                 \
    __VA_ARGS__                                                     \
    last++->next = Piece::Next::end;                                \
    ++type;                                                         \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD
  return out;
}
constexpr Pieces kPieces = cut_up();

template <typename Value>
const Value& at(const event::Any& event, const Piece& piece) noexcept {
  return *reinterpret_cast<const Value*>(static_cast<const char*>(event.data()) + piece.at);
}

const Piece* first_of(const event::Any& event) noexcept {
  return &kPieces.all[kPieces.begins[static_cast<size_t>(event.type())]];
}

size_t length_of(kinds::text text) noexcept { return std::min(text.find('\0'), text.size()); }
template <typename Item>
size_t length_of(std::span<const Item> items) noexcept {
  return std::min(items.size(), kLongest);
}

template <size_t kSize>
void take(char*& to, const char*& from) noexcept {
  std::memcpy(to, from, kSize);
  to += kSize;
  from += kSize;
}

char* put(char* to, const void* bytes, size_t size) noexcept {
  if (size != 0) std::memcpy(to, bytes, size);
  return to + size;
}

/// Few bytes: without a call.
char* put_numbers(char* to, const char* from, size_t size) noexcept {
  for (; size >= 16; size -= 16) take<16>(to, from);
  if ((size & 8) != 0) take<8>(to, from);
  if ((size & 4) != 0) take<4>(to, from);
  if ((size & 2) != 0) take<2>(to, from);
  if ((size & 1) != 0) take<1>(to, from);
  return to;
}

template <typename Item>
char* put_sequence(char* to, std::span<const Item> items) noexcept {
  const auto length = static_cast<uint16_t>(length_of(items));
  return put(put(to, &length, sizeof length), items.data(), length * sizeof(Item));
}

}  // namespace

size_t size_of(const event::Any& event) noexcept {
  size_t size = kPieces.sizes[static_cast<size_t>(event.type())];
  for (const Piece* piece = first_of(event); piece->next != Piece::Next::end; ++piece) {
    if (piece->next == Piece::Next::text) size += length_of(at<kinds::text>(event, *piece));
    if (piece->next == Piece::Next::bytes) size += length_of(at<kinds::bytes>(event, *piece));
    if (piece->next == Piece::Next::frames) size += length_of(at<kinds::frames>(event, *piece)) * sizeof(uintptr_t);
  }
  return size;
}

char* encode(char* to, const event::Any& event, uint64_t timestamp) noexcept {
  const auto id = static_cast<uint16_t>(event.type());
  to = put(put(to, &id, sizeof id), &timestamp, sizeof timestamp);
  for (const Piece* piece = first_of(event);; ++piece) {
    to = put_numbers(to, static_cast<const char*>(event.data()) + piece->numbers, piece->size);
    if (piece->next == Piece::Next::end) return to;
    if (piece->next == Piece::Next::text) {
      const kinds::text text = at<kinds::text>(event, *piece);
      to = put(to, text.data(), length_of(text));
      *to++ = '\0';
    }
    if (piece->next == Piece::Next::bytes) to = put_sequence(to, at<kinds::bytes>(event, *piece));
    if (piece->next == Piece::Next::frames) to = put_sequence(to, at<kinds::frames>(event, *piece));
  }
}

}  // namespace poireau::ctf
