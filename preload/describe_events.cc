// poireau-events: what events there are, for the README, the Python front end and the tests.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "config/documents.h"
#include "preload/ctf.h"
#include "preload/event.h"
#include "preload/sink_usdt.h"

namespace poireau::event {
namespace {

using documents::json_string;

struct Field {
  std::string_view name, kind, help;
  bool operator==(const Field&) const = default;
};
struct Described {
  Type type;
  std::string_view name, help;
  std::vector<Field> fields;

  /// The first argument of its probe that a field is; empty: none.
  [[nodiscard]] std::string argument(size_t field) const {
    size_t argument = 0;
    const usdt::Signature& own = usdt::signature_of(type);
    for (size_t i = 0; i < own.fields; ++i) {
      if (own.passed[i].field == field) return "arg" + std::to_string(argument);
      argument += own.passed[i].kind == usdt::Kind::bytes || own.passed[i].kind == usdt::Kind::frames ? 2 : 1;
    }
    return {};
  }
};

std::vector<Described> all_events() {
  std::vector<Described> all;
#define FIELD(kind, name, help) fields.push_back({#name, #kind, help});
#define EVENT(name, Name, help, ...)                  \
  {                                                   \
    std::vector<Field> fields;                        \
    __VA_ARGS__                                       \
    all.push_back({Type::name, #name, help, fields}); \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD
  return all;
}

/// The first event that has the same fields.
std::string_view model_of(const std::vector<Described>& all, const Described& event) {
  for (const Described& other : all)
    if (other.fields == event.fields) return other.name;
  return event.name;
}

void print_markdown(std::ostream& out) {
  out << "| Event | Field | Kind | Probe | Meaning |\n|---|---|---|---|---|\n";
  const std::vector<Described> all = all_events();
  for (const Described& event : all) {
    const std::string_view model = model_of(all, event);
    out << "| **`" << event.name << "`** | | | | **" << event.help << "**";
    if (model != event.name) out << " Its fields are those of `" << model << "`.";
    out << " |\n";
    for (size_t i = 0; i < event.fields.size() && model == event.name; ++i) {
      const Field& field = event.fields[i];
      out << "| | `" << field.name << "` | " << field.kind << " | " << event.argument(i) << " | " << field.help
          << " |\n";
    }
  }
}

void print_json(std::ostream& out) {
  const char* separator = "[\n";
  for (const Described& event : all_events()) {
    out << separator << "  {\"name\": " << json_string(event.name) << ", \"help\": " << json_string(event.help)
        << ", \"arguments\": " << int{usdt::signature_of(event.type).arguments} << ", \"fields\": [";
    const char* comma = "\n";
    for (size_t i = 0; i < event.fields.size(); ++i) {
      const Field& field = event.fields[i];
      out << comma << "    {\"name\": " << json_string(field.name) << ", \"kind\": " << json_string(field.kind)
          << ", \"probe\": " << json_string(event.argument(i)) << ", \"help\": " << json_string(field.help) << "}";
      comma = ",\n";
    }
    out << "]}";
    separator = ",\n";
  }
  out << "\n]\n";
}

void print_metadata(std::ostream& out) {
  constexpr std::array<uint8_t, 16> kNoUuid{};
  static std::array<char, ctf::kMetadataRoom> room;
  const size_t size =
      ctf::metadata(room, {.uuid = kNoUuid, .clock_offset = 0, .process = 0, .program = "", .host = "", .version = ""});
  if (size == 0) out.setstate(std::ios::failbit);
  out.write(room.data(), static_cast<std::streamsize>(size));
}

constexpr documents::Format kFormats[] = {
    {"--markdown", print_markdown}, {"--json", print_json}, {"--metadata", print_metadata}};

}  // namespace
}  // namespace poireau::event

int main(int argc, char** argv) { return poireau::documents::print_one(poireau::event::kFormats, argc, argv); }
