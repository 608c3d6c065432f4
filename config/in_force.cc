// poireau-config: which options a program that is started here would have, for `poireau config show`. Records of fields
// that end with NULs: "option", name, value, default, origin, range, when it changes; or "wrong" and a line.
#include <iostream>
#include <string_view>

#include "config/described.h"
#include "config/load.h"

namespace poireau::config {
namespace {

void record(std::initializer_list<std::string_view> fields) {
  for (const std::string_view field : fields) std::cout << field << '\0';
  std::cout << '\n';
}

void show(const OptionInfo& option) {
  Text value, initial;
  record({"option", option.name(), option.show(value), option.show_default(initial), origin(option), option.range(),
          option.changes == Phase::live ? "while running" : "at load"});
}

}  // namespace
}  // namespace poireau::config

int main(int, char**, char** environment) {
  using namespace poireau::config;
  load(environment, [](std::string_view line) { record({"wrong", line}); });
  for (const OptionInfo& option : all_options()) show(option);
  return std::cout.flush() ? 0 : 1;
}
