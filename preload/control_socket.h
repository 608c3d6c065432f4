#pragma once
#include <cstdint>
#include <string_view>

/// The listener and the connections: whose they are, and who may speak. By one thread at a time.
namespace poireau::control {

/// The listener's name without the leading NUL: poireau/<uid>/<pid>/<start time>; empty: there is none.
[[nodiscard]] std::string_view name() noexcept;

}  // namespace poireau::control
