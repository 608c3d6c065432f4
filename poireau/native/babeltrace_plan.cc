#include "poireau/native/babeltrace_plan.h"

#include <array>

namespace poireau::native::babeltrace {
namespace {

using How = Source::How;

constexpr std::string_view kPrefix = "poireau:";
constexpr std::array<std::string_view, statedump::count> kStatedump = {"baddr", "memsz", "path", "is_pic", "build_id"};

How number_how(const bt_field_class* of) {
  const bt_field_class_type type = bt_field_class_get_type(of);
  if (bt_field_class_type_is(type, BT_FIELD_CLASS_TYPE_UNSIGNED_INTEGER)) return How::natural;
  if (bt_field_class_type_is(type, BT_FIELD_CLASS_TYPE_SIGNED_INTEGER)) return How::integer;
  if (type == BT_FIELD_CLASS_TYPE_BOOL) return How::boolean;
  return How::none;
}

/// The member of a structure that has this name, as far as it is of use.
Source source_of(const bt_field_class* structure, std::string_view name) {
  Source out;
  if (structure == nullptr) return out;
  const uint64_t count = bt_field_class_structure_get_member_count(structure);
  for (uint64_t i = 0; i < count; ++i) {
    const auto* member = bt_field_class_structure_borrow_member_by_index_const(structure, i);
    if (name != bt_field_class_structure_member_get_name(member)) continue;
    const bt_field_class* const of = bt_field_class_structure_member_borrow_field_class_const(member);
    const bt_field_class_type type = bt_field_class_get_type(of);
    out.member = i;
    out.how = number_how(of);
    if (type == BT_FIELD_CLASS_TYPE_STRING) out.how = How::text;
    if (bt_field_class_type_is(type, BT_FIELD_CLASS_TYPE_ARRAY)) {
      out.items = number_how(bt_field_class_array_borrow_element_field_class_const(of));
      out.how = out.items == How::none ? How::none : How::array;
    }
    return out;
  }
  return out;
}

/// `source`, if it can be made what the column holds.
Source fitting(Source source, Kind kind) {
  const bool array = kind == Kind::bytes || kind == Kind::frames, text = kind == Kind::text;
  const bool fits = (source.how == How::array) == array && (source.how == How::text) == text;
  if (!fits) source.how = How::none;
  return source;
}

std::optional<event::Type> type_of(std::string_view name) {
  if (!name.starts_with(kPrefix)) return std::nullopt;
  name.remove_prefix(kPrefix.size());
  for (size_t type = 0; type < event::kTypes; ++type)
    if (name == name_of(static_cast<event::Type>(type))) return static_cast<event::Type>(type);
  return std::nullopt;
}

Statedump statedump_of(std::string_view name) {
  if (name == "lttng_ust_statedump:bin_info" || name == "lttng_ust_lib:load") return Statedump::file;
  if (name == "lttng_ust_statedump:build_id" || name == "lttng_ust_lib:build_id") return Statedump::build_id;
  return Statedump::none;
}

}  // namespace

std::string_view Source::text(const bt_field* structure) const {
  if (how != How::text) return {};
  const bt_field* const of = field(structure);
  return {bt_field_string_get_value(of), bt_field_string_get_length(of)};
}

Plan Plans::make(const bt_event_class* event) {
  Plan out;
  const char* const name = bt_event_class_get_name(event);
  if (name != nullptr) {
    out.type = type_of(name);
    out.statedump = statedump_of(name);
  }
  const bt_field_class* const payload = bt_event_class_borrow_payload_field_class_const(event);
  if (out.type)
    for (const Field& field : fields_of(*out.type))
      out.columns.push_back(fitting(source_of(payload, field.name), field.kind));
  if (out.statedump != Statedump::none)
    for (const std::string_view field : kStatedump) out.columns.push_back(source_of(payload, field));

  const bt_stream_class* const stream = bt_event_class_borrow_stream_class_const(event);
  out.process = source_of(bt_event_class_borrow_specific_context_field_class_const(event), "vpid");
  if (out.process.how == How::none) {
    out.process = source_of(bt_stream_class_borrow_event_common_context_field_class_const(stream), "vpid");
    out.common = true;
  }
  const bt_clock_class* const clock = bt_stream_class_borrow_default_clock_class_const(stream);
  out.has_clock = clock != nullptr;
  if (clock != nullptr) {
    constexpr int64_t kSecond = 1'000'000'000, kMostSeconds = int64_t{1} << 33;
    int64_t seconds;
    uint64_t cycles;
    bt_clock_class_get_offset(clock, &seconds, &cycles);
    const char* const clock_name = bt_clock_class_get_name(clock);
    out.monotonic = clock_name != nullptr && std::string_view(clock_name) == "monotonic" &&
                    bt_clock_class_get_frequency(clock) == kSecond && seconds < kMostSeconds &&
                    seconds > -kMostSeconds && cycles < kSecond;
    if (out.monotonic) out.offset = seconds * kSecond + static_cast<int64_t>(cycles);
  }
  return out;
}

}  // namespace poireau::native::babeltrace
