#include "preload/control_socket.h"

namespace poireau::control {
std::string_view name() noexcept { return {}; }
}  // namespace poireau::control
