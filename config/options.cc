#include "config/options.h"

#include <array>
#include <iterator>
#include <utility>

namespace poireau::config {

constinit Options options;

namespace {

constexpr OptionInfo kOptions[] = {
#define OPTION(name, type, initial, changes, help)                                   \
  {#name,                                                                            \
   type::kType,                                                                      \
   type::kRange,                                                                     \
   type::kWanted,                                                                    \
   help,                                                                             \
   Phase::changes,                                                                   \
   [](std::string_view text) noexcept { return options.name.set(text); },            \
   [](Text& scratch) noexcept { return std::as_const(options).name.show(scratch); }, \
   [](Text& scratch) noexcept { return type::show(initial, scratch); }},
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr Alias kAliases[] = {
#define OPTION(name, type, initial, changes, help)
#define ALIAS(alias, name) {#alias, #name},
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constinit std::array<std::string_view, std::size(kOptions)> origins{};  // empty: built-in

}  // namespace

std::span<const OptionInfo> all_options() noexcept { return kOptions; }
std::span<const Alias> all_aliases() noexcept { return kAliases; }

const OptionInfo* find(std::string_view name) noexcept {
  for (const Alias& alias : kAliases)
    if (alias.name == name) name = alias.meaning;
  for (const OptionInfo& option : kOptions)
    if (option.name == name) return &option;
  return nullptr;
}

std::string_view origin(const OptionInfo& option) noexcept {
  const std::string_view known = origins[static_cast<size_t>(&option - kOptions)];
  return known.empty() ? "built-in" : known;
}

SetResult set(std::string_view name, std::string_view text, std::string_view origin, Phase now) noexcept {
  const OptionInfo* option = find(name);
  if (option == nullptr) return SetResult::unknown;
  if (option->changes < now) return SetResult::too_late;
  const SetResult result = option->set(text);
  if (result == SetResult::ok) origins[static_cast<size_t>(option - kOptions)] = origin;
  return result;
}

std::optional<std::string_view> get(std::string_view name, Text& scratch) noexcept {
  const OptionInfo* option = find(name);
  if (option == nullptr) return std::nullopt;
  return option->show(scratch);
}

}  // namespace poireau::config
