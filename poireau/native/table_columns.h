#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "poireau/native/reader.h"
#include "preload/event.h"

/// The events of a batch as columns, see reader.h.
namespace poireau::native {

enum class Kind : uint8_t { u8, u16, u32, u64, hex, text, bytes, frames };

struct Field {
  std::string_view name;
  Kind kind;
  /// Nanoseconds of CLOCK_MONOTONIC in traces, to which the clock's offset is added.
  [[nodiscard]] constexpr bool is_time() const { return name == "time"; }
};

/// As event.def names them.
[[nodiscard]] std::string_view name_of(event::Type type);
[[nodiscard]] std::span<const Field> fields_of(event::Type type);
/// What a column holds of each.
[[nodiscard]] size_t width_of(Kind kind);

class Columns {
 public:
  Columns();
  Columns(const Columns&) = delete;
  Columns& operator=(const Columns&) = delete;

  /// A new row, whose fields are all to be put; zero those that are not.
  void begin_row(event::Type type, uint64_t order, uint32_t process, int64_t stamp) {
    Table& table = tables_[static_cast<size_t>(type)];
    if (table.count == table.room) [[unlikely]]
      grow(table, type);
    row_ = table.count++;
    fields_ = table.fields.data();
    table.order[row_] = order;
    table.process[row_] = process;
    table.stamp[row_] = stamp;
    ++events_;
  }
  /// Into the last row: what is known when this is compiled, ...
  template <typename Value>
  void put(size_t field, Value value) {
    static_cast<Value*>(fields_[field])[row_] = value;
  }
  /// ... and what is not. Of text, bytes and frames the number.
  void put(size_t field, Kind kind, uint64_t value);

  [[nodiscard]] uint64_t events() const { return events_; }
  /// No rows.
  void clear();
  /// Good until the next row or `clear`.
  void show(PoireauBatch& out);

 private:
  using Room = std::vector<uint64_t>;
  struct Table {
    uint64_t count = 0, room = 0;
    uint64_t* order = nullptr;
    uint32_t* process = nullptr;
    int64_t* stamp = nullptr;
    std::vector<void*> fields;
    std::vector<Room> rooms;  // of all of them
  };
  void grow(Table& table, event::Type type);

  std::array<Table, event::kTypes> tables_;
  std::array<PoireauRows, event::kTypes> rows_{};
  uint64_t events_ = 0;
  size_t row_ = 0;
  void* const* fields_ = nullptr;
};

}  // namespace poireau::native
