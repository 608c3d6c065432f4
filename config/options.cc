#include "config/options.h"

#include <array>
#include <iterator>
#include <utility>

#include "preload/base/words.h"

namespace poireau::config {

#define OPTION(name, type, initial, changes, help) constinit type Options::name{initial};
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION

namespace {

enum Row : uint8_t {
#define OPTION(name, type, initial, changes, help) row_##name,
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr OptionInfo kOptions[] = {
#define OPTION(name, type, initial, changes, help) {row_##name, Phase::changes},
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr std::string_view kNames[] = {
#define OPTION(name, type, initial, changes, help) #name,
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr std::string_view kRanges[] = {
#define OPTION(name, type, initial, changes, help) type::kRange,
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr std::string_view kWanted[] = {
#define OPTION(name, type, initial, changes, help) type::kWanted,
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

std::string_view OptionInfo::name() const noexcept { return kWords<kNames>[row]; }
std::string_view OptionInfo::range() const noexcept { return kWords<kRanges>[row]; }
std::string_view OptionInfo::wanted() const noexcept { return kWords<kWanted>[row]; }

SetResult OptionInfo::set(std::string_view text) const noexcept {
  switch (row) {
#define OPTION(name, type, initial, changes, help) \
  case row_##name:                                 \
    return options.name.set(text);
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
  }
  __builtin_unreachable();
}

std::string_view OptionInfo::show(Text& scratch) const noexcept {
  switch (row) {
#define OPTION(name, type, initial, changes, help) \
  case row_##name:                                 \
    return std::as_const(options.name).show(scratch);
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
  }
  __builtin_unreachable();
}

std::string_view OptionInfo::show_default(Text& scratch) const noexcept {
  switch (row) {
#define OPTION(name, type, initial, changes, help) \
  case row_##name:                                 \
    return type::show(initial, scratch);
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
  }
  __builtin_unreachable();
}

std::span<const OptionInfo> all_options() noexcept { return kOptions; }
std::span<const Alias> all_aliases() noexcept { return kAliases; }

const OptionInfo* find(std::string_view name) noexcept {
  for (const Alias& alias : kAliases)
    if (alias.name == name) name = alias.meaning;
  for (const OptionInfo& option : kOptions)
    if (option.name() == name) return &option;
  return nullptr;
}

std::string_view origin(const OptionInfo& option) noexcept {
  const std::string_view known = origins[option.row];
  return known.empty() ? "built-in" : known;
}

SetResult set(std::string_view name, std::string_view text, std::string_view origin, Phase now) noexcept {
  const OptionInfo* option = find(name);
  if (option == nullptr) return SetResult::unknown;
  if (option->changes < now) return SetResult::too_late;
  const SetResult result = option->set(text);
  if (result == SetResult::ok) origins[option->row] = origin;
  return result;
}

std::optional<std::string_view> get(std::string_view name, Text& scratch) noexcept {
  const OptionInfo* option = find(name);
  if (option == nullptr) return std::nullopt;
  return option->show(scratch);
}

}  // namespace poireau::config
