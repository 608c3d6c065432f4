#include "preload/control_answer.h"

namespace poireau::control {
Answer& Answer::text(std::string_view, std::string_view) noexcept { return *this; }
Answer& Answer::number(std::string_view, uint64_t) noexcept { return *this; }
Answer& Answer::truth(std::string_view, bool) noexcept { return *this; }
Answer& Answer::begin(std::string_view, char) noexcept { return *this; }
Answer& Answer::end() noexcept { return *this; }
bool Answer::finish() noexcept { return false; }
}  // namespace poireau::control
