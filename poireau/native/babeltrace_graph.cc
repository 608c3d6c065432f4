#include "poireau/native/babeltrace_graph.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "poireau/native/babeltrace_bounds.h"

namespace poireau::native::babeltrace {
namespace {

constexpr size_t kLongestComplaint = 200;

struct Put {
  void operator()(const bt_value* value) const { bt_value_put_ref(value); }
};
using Value = std::unique_ptr<bt_value, Put>;

void check(int status) {
  if (status == 0) return;
  const std::string why = last_error();
  throw std::runtime_error(why.empty() ? "libbabeltrace2 failed" : why);
}

}  // namespace

const bt_plugin& ctf_plugin() {
  static const bt_plugin* found = nullptr;  // for good: to find it, all that there are are loaded
  if (found == nullptr) intercept_items();
  bt_logging_set_global_level(BT_LOGGING_LEVEL_NONE);
  if (found == nullptr && bt_plugin_find("ctf", BT_TRUE, BT_FALSE, BT_TRUE, BT_TRUE, BT_FALSE, &found) != 0) {
    bt_current_thread_clear_error();
    throw std::runtime_error("libbabeltrace2 has no plugin for CTF");
  }
  return *found;
}

std::string last_error() {
  const bt_error* const error = bt_current_thread_take_error();
  if (error == nullptr) return {};
  // The first cause is what happened; those after it, on whose behalf.
  std::string out;
  if (bt_error_get_cause_count(error) != 0) out = bt_error_cause_get_message(bt_error_borrow_cause_by_index(error, 0));
  bt_error_release(error);
  out.resize(std::min({out.size(), out.find('\n'), kLongestComplaint}));
  while (out.ends_with('.') || out.ends_with(' ')) out.pop_back();
  return out;
}

/// A component with an input for each stream, which takes messages from the one that is wanted.
struct Graph::Sink {
  static Graph& of(bt_self_component_sink* self) {
    return *static_cast<Graph*>(bt_self_component_get_data(bt_self_component_sink_as_self_component(self)));
  }
  static bt_component_class_initialize_method_status initialize(bt_self_component_sink* self,
                                                                bt_self_component_sink_configuration*, const bt_value*,
                                                                void* graph) {
    bt_self_component_set_data(bt_self_component_sink_as_self_component(self), graph);
    for (size_t i = 0; i < static_cast<Graph*>(graph)->ports_.size(); ++i)
      if (bt_self_component_sink_add_input_port(self, std::to_string(i).c_str(), nullptr, nullptr) != 0)
        return BT_COMPONENT_CLASS_INITIALIZE_METHOD_STATUS_ERROR;
    return BT_COMPONENT_CLASS_INITIALIZE_METHOD_STATUS_OK;
  }
  static bt_component_class_sink_graph_is_configured_method_status begin(bt_self_component_sink* self) {
    std::vector<Port>& ports = of(self).ports_;
    for (size_t i = 0; i < ports.size(); ++i) {
      bt_self_component_port_input* const port = bt_self_component_sink_borrow_input_port_by_index(self, i);
      if (bt_message_iterator_create_from_sink_component(self, port, &ports[i].iterator) == 0) {
        bt_current_thread_clear_error();
        continue;
      }
      ports[i].iterator = nullptr;
      ports[i].failed = last_error();
    }
    return BT_COMPONENT_CLASS_SINK_GRAPH_IS_CONFIGURED_METHOD_STATUS_OK;
  }
  static bt_component_class_sink_consume_method_status consume(bt_self_component_sink* self) {
    Graph& graph = of(self);
    Port& port = graph.ports_[graph.wanted_];
    graph.state_ = State::failed;
    if (port.iterator == nullptr || !port.failed.empty()) {
      graph.why_ = port.failed;
      return BT_COMPONENT_CLASS_SINK_CONSUME_METHOD_STATUS_OK;
    }
    switch (bt_message_iterator_next(port.iterator, &port.messages, &port.count)) {
      case BT_MESSAGE_ITERATOR_NEXT_STATUS_OK:
        graph.state_ = State::messages;
        // What it fails with behind these messages it may not say again.
        port.failed = last_error();
        break;
      case BT_MESSAGE_ITERATOR_NEXT_STATUS_AGAIN:
        graph.state_ = State::nothing_yet;
        break;
      case BT_MESSAGE_ITERATOR_NEXT_STATUS_END:
        graph.why_ = last_error();
        graph.state_ = graph.why_.empty() ? State::end : State::failed;
        break;
      default:
        graph.why_ = last_error();
    }
    // Whatever became of this stream, the graph goes on.
    return BT_COMPONENT_CLASS_SINK_CONSUME_METHOD_STATUS_OK;
  }
  static void finalize(bt_self_component_sink* self) {
    for (Port& port : of(self).ports_) {
      of(self).release(port);
      if (port.iterator != nullptr) bt_message_iterator_put_ref(port.iterator);
      port.iterator = nullptr;
    }
  }
};

Graph::Graph(const std::vector<std::string>& directories) {
  const Value inputs(bt_value_array_create());
  for (const std::string& each : directories) check(bt_value_array_append_string_element(inputs.get(), each.c_str()));
  build("fs", "inputs", inputs.get(), nullptr);
}

Graph::Graph(const std::string& url) {
  const Value inputs(bt_value_array_create());
  check(bt_value_array_append_string_element(inputs.get(), url.c_str()));
  build("lttng-live", "inputs", inputs.get(), "fail");
}

void Graph::build(const char* source, const char* parameter, const bt_value* value, const char* when_not_found) try {
  const bt_component_class_source* const found =
      bt_plugin_borrow_source_component_class_by_name_const(&ctf_plugin(), source);
  if (found == nullptr) throw std::runtime_error(std::string("libbabeltrace2 has no ctf.") + source);
  const Value parameters(bt_value_map_create());
  check(bt_value_map_insert_entry(parameters.get(), parameter, const_cast<bt_value*>(value)));
  if (when_not_found != nullptr)
    check(bt_value_map_insert_string_entry(parameters.get(), "session-not-found-action", when_not_found));
  graph_ = bt_graph_create(0);
  if (graph_ == nullptr) check(-1);
  const bt_component_source* from = nullptr;
  check(bt_graph_add_source_component(graph_, found, "source", parameters.get(), BT_LOGGING_LEVEL_NONE, &from));
  // It may leave an error although it has succeeded, and to call anything with one is punished with abort().
  bt_current_thread_clear_error();
  ports_.resize(bt_component_source_get_output_port_count(from));
  if (ports_.empty()) return;
  bt_component_class_sink* const ours = bt_component_class_sink_create("poireau", Sink::consume);
  if (ours == nullptr) check(-1);
  bt_component_class_sink_set_initialize_method(ours, Sink::initialize);
  bt_component_class_sink_set_graph_is_configured_method(ours, Sink::begin);
  bt_component_class_sink_set_finalize_method(ours, Sink::finalize);
  const bt_component_sink* to = nullptr;
  const int added = bt_graph_add_sink_component_with_initialize_method_data(graph_, ours, "sink", nullptr, this,
                                                                            BT_LOGGING_LEVEL_NONE, &to);
  bt_component_class_sink_put_ref(ours);
  check(added);
  std::vector<const bt_port_output*> outputs;
  for (size_t i = 0; i < ports_.size(); ++i)
    outputs.push_back(bt_component_source_borrow_output_port_by_index_const(from, i));
  const auto name = [](const bt_port_output* port) {
    return std::string_view(bt_port_get_name(bt_port_output_as_port_const(port)));
  };
  std::sort(outputs.begin(), outputs.end(), [&](auto* a, auto* b) { return name(a) < name(b); });
  for (size_t i = 0; i < ports_.size(); ++i) {
    ports_[i].name = name(outputs[i]);
    check(
        bt_graph_connect_ports(graph_, outputs[i], bt_component_sink_borrow_input_port_by_index_const(to, i), nullptr));
  }
} catch (...) {
  free();
  throw;
}

Graph::~Graph() { free(); }

void Graph::free() {
  if (graph_ != nullptr) bt_graph_put_ref(graph_);
  graph_ = nullptr;
  bt_current_thread_clear_error();
}

void Graph::release(Port& port) {
  for (uint64_t i = 0; i < port.count; ++i) bt_message_put_ref(port.messages[i]);
  port.count = 0;
}

State Graph::next(size_t stream, std::span<const bt_message* const>& messages) {
  Port& port = ports_[stream];
  release(port);
  wanted_ = stream;
  bt_current_thread_clear_error();
  state_ = State::failed;
  why_.clear();
  const ItemLimit limit;
  if (bt_graph_run_once(graph_) != BT_GRAPH_RUN_ONCE_STATUS_OK && state_ == State::failed && why_.empty())
    why_ = last_error();
  messages = {port.messages, port.count};
  return state_;
}

}  // namespace poireau::native::babeltrace
