#include "poireau/native/babeltrace_events.h"

#include <algorithm>

namespace poireau::native::babeltrace {
namespace {

size_t column_of(event::Type type, std::string_view name) {
  const std::span<const Field> fields = fields_of(type);
  return static_cast<size_t>(
      std::find_if(fields.begin(), fields.end(), [&](const Field& field) { return field.name == name; }) -
      fields.begin());
}

/// Of a field of our own events.
const Source& named(const Plan& plan, std::string_view name) { return plan.columns[column_of(*plan.type, name)]; }

}  // namespace

void Events::rewind() {
  for (Traced& trace : traces_)
    for (auto& [id, process] : trace.processes) {
      process.current = 0;
      process.binaries.clear();
      for (Image& image : process.images) {
        image.order = 0;
        image.modules.clear();
        image.addresses->forget();
      }
    }
}

uint32_t Events::trace(const std::string& name, const std::string& source) {
  const auto [found, is_new] = names_.try_emplace(name, static_cast<uint32_t>(traces_.size()));
  if (is_new) traces_.push_back({source, {}});
  return found->second;
}

int64_t Events::stamp_of(const bt_message* message, Plans& plans) {
  const bt_event* const event = bt_message_event_borrow_event_const(message);
  int64_t stamp = 0;
  if (!plans.of(bt_event_borrow_class_const(event)).has_clock) return 0;
  const bt_clock_snapshot* const clock = bt_message_event_borrow_default_clock_snapshot_const(message);
  if (bt_clock_snapshot_get_ns_from_origin(clock, &stamp) != BT_CLOCK_SNAPSHOT_GET_NS_FROM_ORIGIN_STATUS_OK) {
    bt_current_thread_clear_error();
    return INT64_MAX;  // beyond all times there are: it is damaged
  }
  return stamp;
}

Events::Image& Events::image(Process& process, uint32_t trace, uint64_t id) {
  const uint32_t number = tables_.process(traces_[trace].source, static_cast<uint32_t>(id));
  process.current = process.images.size();
  process.images.push_back({number, std::make_unique<Addresses>(tables_, number)});
  if (process.images.size() > 1) process.binaries.clear();
  for (const auto& [begin, binary] : process.binaries) add_binary(process.images.back(), begin, binary);
  return process.images.back();
}

/// The number of the process in the event's context, or that of all the trace; 0: it is not known.
uint64_t Events::process_of(const Plan& plan, const bt_event* event) {
  if (plan.process.how != Source::How::none)
    return static_cast<uint32_t>(plan.process.number(plan.common
                                                         ? bt_event_borrow_common_context_field_const(event)
                                                         : bt_event_borrow_specific_context_field_const(event)));
  const bt_trace* const of = bt_stream_borrow_trace_const(bt_event_borrow_stream_const(event));
  const bt_value* const value = bt_trace_borrow_environment_entry_value_by_name_const(of, "vpid");
  if (value == nullptr || !bt_value_is_signed_integer(value)) return 0;
  return static_cast<uint32_t>(bt_value_integer_signed_get(value));
}

Events::Image& Events::image_of(const Plan& plan, const bt_event* event, uint32_t trace) {
  const uint64_t id = process_of(plan, event);
  Process& process = traces_[trace].processes[id];
  if (process.images.empty()) image(process, trace, id);
  if (plan.type != event::Type::process) return process.images[process.current];

  const bt_field* const payload = bt_event_borrow_payload_field_const(event);
  const RunId run_id{named(plan, "run_id_high").number(payload), named(plan, "run_id_low").number(payload)};
  Image& now = process.images[process.current];
  if (run_id == RunId{}) return now;  // it says nothing
  if (now.run_id == RunId{} || now.run_id == run_id) {
    now.run_id = run_id;
    return now;
  }
  const auto known = std::find_if(process.images.begin(), process.images.end(),
                                  [&](const Image& each) { return each.run_id == run_id; });
  if (known == process.images.end()) {
    if (id == 0) tables_.lose(kNone, "processes that can't be told apart: their events have no context vpid");
    Image& another = image(process, trace, id);
    another.run_id = run_id;
    return another;
  }
  process.current = static_cast<size_t>(known - process.images.begin());
  return *known;
}

void Events::add_module(Image& image, const Plan& plan, const bt_field* payload) {
  const uint64_t begin = named(plan, "begin").number(payload), size = named(plan, "size").number(payload);
  named(plan, "build_id").array(payload, bytes_);
  image.addresses->module(named(plan, "base").number(payload), begin, size, named(plan, "path").text(payload), bytes_);
  image.modules.push_back({begin, begin + std::min(size, UINT64_MAX - begin)});
}

void Events::add_binary(Image& image, uint64_t begin, const Binary& binary) {
  const uint64_t end = begin + std::min(binary.size, UINT64_MAX - begin);
  const bool known = std::any_of(image.modules.begin(), image.modules.end(),
                                 [&](const Range& each) { return each.begin < end && begin < each.end; });
  if (!known) image.addresses->module(binary.base, begin, binary.size, binary.path, binary.build_id);
}

void Events::take_statedump(const Plan& plan, const bt_event* event, uint32_t trace) {
  const bt_field* const payload = bt_event_borrow_payload_field_const(event);
  Process& process = traces_[trace].processes[process_of(plan, event)];
  const uint64_t begin = plan.columns[statedump::baddr].number(payload);
  if (plan.statedump == Statedump::file) {
    const Source& shifted = plan.columns[statedump::is_pic];
    const bool is_shifted = shifted.how == Source::How::none || shifted.number(payload) != 0;
    process.binaries[begin] = {plan.columns[statedump::memsz].number(payload), is_shifted ? begin : 0,
                               std::string(plan.columns[statedump::path].text(payload))};
  } else if (const auto found = process.binaries.find(begin); found != process.binaries.end()) {
    plan.columns[statedump::build_id].array(payload, found->second.build_id);
  }
  const auto found = process.binaries.find(begin);
  if (found != process.binaries.end() && !process.images.empty())
    add_binary(process.images[process.current], begin, found->second);
}

bool Events::take(const bt_message* message, int64_t stamp, uint32_t trace, Plans& plans) {
  const bt_event* const event = bt_message_event_borrow_event_const(message);
  const Plan& plan = plans.of(bt_event_borrow_class_const(event));
  if (!plan.type) {
    if (plan.statedump == Statedump::none) return false;
    take_statedump(plan, event, trace);
    return true;
  }
  Image& image = image_of(plan, event, trace);
  const bt_field* const payload = bt_event_borrow_payload_field_const(event);
  if (plan.type == event::Type::module) add_module(image, plan, payload);
  columns_.begin_row(*plan.type, image.order++, image.number, stamp);
  const std::span<const Field> fields = fields_of(*plan.type);
  for (size_t column = 0; column < fields.size(); ++column) {
    const Source& source = plan.columns[column];
    const Kind kind = fields[column].kind;
    uint64_t value = 0;
    if (fields[column].is_time()) {
      const bool known = plan.monotonic && source.how != Source::How::none;
      value = known ? static_cast<uint64_t>(plan.offset) + source.number(payload) : static_cast<uint64_t>(stamp);
    } else if (kind == Kind::text) {
      value = tables_.string(source.text(payload));
    } else if (kind == Kind::bytes) {
      source.array(payload, bytes_);
      value = tables_.hexadecimal(bytes_);
    } else if (kind == Kind::frames) {
      source.array(payload, frames_);
      value = image.addresses->stack(frames_);
    } else {
      value = source.number(payload);
    }
    columns_.put(column, kind, value);
  }
  return true;
}

}  // namespace poireau::native::babeltrace
