#pragma once
#include <babeltrace2/babeltrace.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "poireau/native/table_columns.h"

/// How the fields of an event class become columns: by their names, as other versions of ours may have others.
namespace poireau::native::babeltrace {

/// A field that can be used.
struct Source {
  enum class How : uint8_t { none, natural, integer, boolean, text, array };
  How how = How::none;
  How items = How::none;  // of an array
  uint64_t member = 0;    // of its structure

  [[nodiscard]] uint64_t number(const bt_field* structure) const {
    return how == How::none ? 0 : number_of(field(structure), how);
  }
  [[nodiscard]] std::string_view text(const bt_field* structure) const;
  template <typename Item>
  void array(const bt_field* structure, std::vector<Item>& out) const {
    out.clear();
    if (how != How::array) return;
    const bt_field* const all = field(structure);
    const uint64_t count = bt_field_array_get_length(all);
    out.reserve(count);
    for (uint64_t i = 0; i < count; ++i)
      out.push_back(static_cast<Item>(number_of(bt_field_array_borrow_element_field_by_index_const(all, i), items)));
  }

 private:
  [[nodiscard]] const bt_field* field(const bt_field* structure) const {
    return bt_field_structure_borrow_member_field_by_index_const(structure, member);
  }
  static uint64_t number_of(const bt_field* field, How how) {
    switch (how) {
      case How::natural:
        return bt_field_integer_unsigned_get_value(field);
      case How::integer:
        return static_cast<uint64_t>(bt_field_integer_signed_get_value(field));
      case How::boolean:
        return bt_field_bool_get_value(field) != 0;
      default:
        return 0;
    }
  }
};

/// Events of others that say where modules are.
enum class Statedump : uint8_t { none, file, build_id };

struct Plan {
  std::optional<event::Type> type;  // nullopt: the event is not ours
  Statedump statedump = Statedump::none;
  std::vector<Source> columns;  // for each of ours, or of kStatedump
  Source process;               // in the event's context
  bool common = false;          // in which of the two
  bool has_clock = false;
  int64_t offset = 0;      // of the clock
  bool monotonic = false;  // the clock is CLOCK_MONOTONIC, in nanoseconds
};

namespace statedump {
enum Column : size_t { baddr, memsz, path, is_pic, build_id, count };
}

/// Of one graph, whose objects they are about.
class Plans {
 public:
  const Plan& of(const bt_event_class* event) {
    if (event != last_) {
      const auto found = plans_.find(event);
      plan_ = found != plans_.end() ? &found->second : &plans_.emplace(event, make(event)).first->second;
      last_ = event;
    }
    return *plan_;
  }

 private:
  static Plan make(const bt_event_class* event);

  std::unordered_map<const bt_event_class*, Plan> plans_;
  const bt_event_class* last_ = nullptr;
  const Plan* plan_ = nullptr;
};

}  // namespace poireau::native::babeltrace
