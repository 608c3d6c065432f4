#include "preload/control_verbs.h"

namespace poireau::control {
Done carry_out(const Request&, Answer& answer) noexcept {
  answer.fail("not yet");
  return Done::now;
}
Done go_on(Answer*) noexcept { return Done::now; }
bool is_at_work() noexcept { return false; }
void forget_work() noexcept {}
void greet(Answer&) noexcept {}
}  // namespace poireau::control
