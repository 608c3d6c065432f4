#pragma once
#include <string>

namespace poireau::symbols {

/// As people write it, of a name as a linker knows it: C++ with its parameters, Rust without its hash, and any other as
/// it is. A symbol's version is left out, `@plt` stays.
std::string as_written(const char* linkage_name);

}  // namespace poireau::symbols
