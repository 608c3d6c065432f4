#pragma once
#include <string_view>

#include "config/options.h"

/// What documents say about the options. For programs of the build and tests: a process has no use for it.
namespace poireau::config {

struct Description {
  std::string_view type, help;
};

/// In the order of `all_options`.
inline constexpr Description kDescriptions[] = {
#define OPTION(name, type, initial, changes, help) {type::kType, help},
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};

constexpr const Description& described(const OptionInfo& option) noexcept { return kDescriptions[option.row]; }

}  // namespace poireau::config
