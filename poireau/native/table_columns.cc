#include "poireau/native/table_columns.h"

#include <algorithm>
#include <cstring>

namespace poireau::native {
namespace {

#define FIELD(kind, name, help) {#name, Kind::kind},
#define EVENT(name, Name, help, ...) constexpr Field k##Name[] = {__VA_ARGS__};
#include "preload/event.def"
#undef EVENT
#undef FIELD

struct Event {
  std::string_view name;
  std::span<const Field> fields;
};
constexpr Event kEvents[] = {
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) {#name, k##Name},
#include "preload/event.def"
#undef EVENT
#undef FIELD
};

constexpr size_t kFirstRoom = 256;

/// For `count` things of `width` bytes, those there were kept.
void* resized(std::vector<uint64_t>& room, size_t count, size_t width) {
  room.resize((count * width + 7) / 8);
  return room.data();
}

}  // namespace

std::string_view name_of(event::Type type) { return kEvents[static_cast<size_t>(type)].name; }
std::span<const Field> fields_of(event::Type type) { return kEvents[static_cast<size_t>(type)].fields; }

size_t width_of(Kind kind) {
  switch (kind) {
    case Kind::u8:
      return 1;
    case Kind::u16:
      return 2;
    case Kind::u64:
    case Kind::hex:
      return 8;
    default:
      return 4;
  }
}

Columns::Columns() {
  for (size_t type = 0; type < event::kTypes; ++type) {
    const size_t fields = kEvents[type].fields.size();
    tables_[type].fields.resize(fields);
    tables_[type].rooms.resize(fields + 3);
  }
}

void Columns::put(size_t field, Kind kind, uint64_t value) {
  switch (width_of(kind)) {
    case 1:
      return put(field, static_cast<uint8_t>(value));
    case 2:
      return put(field, static_cast<uint16_t>(value));
    case 4:
      return put(field, static_cast<uint32_t>(value));
    default:
      return put(field, value);
  }
}

void Columns::clear() {
  for (Table& table : tables_) table.count = 0;
  events_ = 0;
}

void Columns::show(PoireauBatch& out) {
  for (size_t type = 0; type < event::kTypes; ++type) {
    const Table& table = tables_[type];
    rows_[type] = {table.count, table.order, table.process, table.stamp, table.fields.data()};
  }
  out = {events_, rows_.data()};
}

void Columns::grow(Table& table, event::Type type) {
  const size_t count = std::max(kFirstRoom, 2 * table.room);
  const auto fields = fields_of(type);
  for (size_t at = 0; at < fields.size(); ++at)
    table.fields[at] = resized(table.rooms[at], count, width_of(fields[at].kind));
  Room* const own = table.rooms.data() + fields.size();
  table.order = static_cast<uint64_t*>(resized(own[0], count, sizeof *table.order));
  table.process = static_cast<uint32_t*>(resized(own[1], count, sizeof *table.process));
  table.stamp = static_cast<int64_t*>(resized(own[2], count, sizeof *table.stamp));
  table.room = count;
}

}  // namespace poireau::native
