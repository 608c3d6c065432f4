#pragma once
#include <string_view>

#include "config/complaints.h"

namespace poireau::config {

/// Gives every option its value from, a later one winning: poireau.toml in `system_directory`,
/// $XDG_CONFIG_HOME/poireau/config.toml (else $HOME/.config/...), the file POIREAU_CONFIG names, and POIREAU_<OPTION>
/// in upper case. What is wrong is skipped and told in lines to `sink`, after the last source, unless `log` is off.
///
/// Call once, before any other thread, and never for a program that runs with more rights than its user
/// (AT_SECURE). Nothing here needs malloc. `environment` is nullptr-terminated, or nullptr for none.
void load(const char* const* environment, Complaints sink, std::string_view system_directory = "/etc") noexcept;

}  // namespace poireau::config
