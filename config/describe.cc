// poireau-options: what there is to set, for poireau.toml, the README and the Python front end.
#include <string>
#include <utility>

#include "config/described.h"
#include "config/documents.h"

namespace poireau::config {
namespace {

using documents::json_string;

std::string environment_name(std::string_view name) {
  std::string result = "POIREAU_";
  for (const char c : name) result += upper(c);
  return result;
}

std::string default_text(const OptionInfo& option) {
  Text scratch;
  return std::string(option.show_default(scratch));
}

std::string_view changes(const OptionInfo& option) {
  return option.changes == Phase::live ? "while running" : "at load";
}

std::string toml_value(const OptionInfo& option) {
  const std::string text = default_text(option);
  if (described(option).type == Names::kType && text.empty()) return "[]";
  if (described(option).type == Count::kType) return text;
  return '"' + text + '"';
}

std::string markdown_cell(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '|' || c == '*' ? std::string{'\\', c} : std::string{c};
  return result;
}

void print_toml(std::ostream& out) {
  out << "# The options of Poireau, each with its default. Remove the # in front of one to set it.\n"
         "# Generated from options.def; do not edit config/poireau.toml itself.\n"
         "#\n"
         "# Read in this order, a later one wins: /etc/poireau.toml, $XDG_CONFIG_HOME/poireau/config.toml\n"
         "# (by default ~/.config/poireau/config.toml), the file named by POIREAU_CONFIG, then the variable\n"
         "# given with each option.\n"
         "\n[poireau]\n";
  for (const OptionInfo& option : all_options()) {
    out << "\n# " << described(option).help << "\n# Values: " << option.range() << ". Changes: " << changes(option)
        << ". Environment: " << environment_name(option.name()) << ".\n#" << option.name() << " = "
        << toml_value(option) << "\n";
  }
}

void print_markdown(std::ostream& out) {
  out << "| Option | Default | Values | Changes | Meaning |\n|---|---|---|---|---|\n";
  for (const OptionInfo& option : all_options()) {
    const std::string text = default_text(option);
    out << "| `" << option.name() << "` | " << (text.empty() ? "" : '`' + text + '`') << " | "
        << markdown_cell(option.range()) << " | " << changes(option) << " | " << markdown_cell(described(option).help)
        << " |\n";
  }
  for (const Alias& alias : all_aliases())
    out << "\n`" << environment_name(alias.name) << "` is understood as `" << environment_name(alias.meaning) << "`.\n";
}

void print_json(std::ostream& out) {
  const char* separator = "[\n";
  for (const OptionInfo& option : all_options()) {
    const std::pair<const char*, std::string> fields[] = {
        {"name", std::string(option.name())},
        {"type", std::string(described(option).type)},
        {"default", default_text(option)},
        {"range", std::string(option.range())},
        {"env", environment_name(option.name())},
        {"changes", option.changes == Phase::live ? "live" : "at_load"},
        {"help", std::string(described(option).help)}};
    out << separator << "  {";
    const char* comma = "";
    for (const auto& [key, value] : fields) {
      out << comma << json_string(key) << ": " << json_string(value);
      comma = ", ";
    }
    out << "}";
    separator = ",\n";
  }
  out << "\n]\n";
}

constexpr documents::Format kFormats[] = {
    {"--toml", print_toml}, {"--markdown", print_markdown}, {"--json", print_json}};

}  // namespace
}  // namespace poireau::config

int main(int argc, char** argv) { return poireau::documents::print_one(poireau::config::kFormats, argc, argv); }
