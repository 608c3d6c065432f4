#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace poireau::symbols {

/// Of a name in Rust's newer scheme (_R...), as Rust's own tools write it, without the hashes of crates. Nothing: it is
/// none, or one that nobody would want to read.
std::optional<std::string> rust_name(std::string_view name);

/// In its older one names are C++'s. `demangled` as Rust writes it, if it is one, otherwise as it is.
std::string without_rust_hash(std::string_view demangled);

}  // namespace poireau::symbols
