#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "config/callers.h"
#include "config/protect.h"
#include "config/values.h"

namespace poireau::config {

/// Every option. Scalars and callers' rates are for any thread at any time; names are set at load and stay.
/// Each is a variable by itself, so that those that start as zeros take no room in the file.
struct [[gnu::visibility("hidden")]] Options {
#define OPTION(name, type, initial, changes, help) static constinit type name;
#define ALIAS(alias, name)
#include "config/options.def"
#undef ALIAS
#undef OPTION
};
inline constexpr Options options;

enum class Phase : uint8_t { at_load, live };

/// What a process knows of an option, by its row in options.def. described.h has the rest.
struct OptionInfo {
  uint8_t row;
  Phase changes;
  [[nodiscard]] std::string_view name() const noexcept;
  /// What `set` takes: its limits, and a text to come after "not".
  [[nodiscard]] std::string_view range() const noexcept;
  [[nodiscard]] std::string_view wanted() const noexcept;
  SetResult set(std::string_view text) const noexcept;
  /// The value's text; in `scratch`, which must be fresh, or a view of the option.
  std::string_view show(Text& scratch) const noexcept;
  /// The same for the value that it has when nobody sets it.
  [[nodiscard]] std::string_view show_default(Text& scratch) const noexcept;
};

struct Alias {
  std::string_view name, meaning;
};

[[nodiscard]] std::span<const OptionInfo> all_options() noexcept;
[[nodiscard]] std::span<const Alias> all_aliases() noexcept;

/// The option of that name or alias, or nullptr.
[[nodiscard]] const OptionInfo* find(std::string_view name) noexcept;
/// Where its value came from: "built-in", a file's path, "environment", "control socket".
[[nodiscard]] std::string_view origin(const OptionInfo& option) noexcept;

/// Gives an option a value, or says why not and leaves it alone. File, environment and socket all end here.
/// `origin` must be text that stays. One thread at a time, as for `get` and `origin`.
SetResult set(std::string_view name, std::string_view text, std::string_view origin, Phase now) noexcept;

/// The value's text, as `set` takes it: in `scratch`, which must be fresh, or a view of the option.
[[nodiscard]] std::optional<std::string_view> get(std::string_view name, Text& scratch) noexcept;

}  // namespace poireau::config

namespace poireau {
using config::options;
}
