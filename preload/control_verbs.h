#pragma once
#include "preload/control_answer.h"
#include "preload/control_request.h"

/// What can be asked for. By one thread at a time, with all signals blocked, holding no lock of ours.
namespace poireau::control {

/// now: answered. later: it takes several turns, `go_on` will answer.
enum class Done : uint8_t { now, later };

/// Carries a request out, and answers; but does not finish the answer's line.
Done carry_out(const Request& request, Answer& answer) noexcept;
/// A turn's worth of what takes longer. `answer` is nullptr when nobody waits for it any more.
Done go_on(Answer* answer) noexcept;
/// Whether something takes longer.
[[nodiscard]] bool is_at_work() noexcept;
/// In a fork child: it was the parent's.
void forget_work() noexcept;

/// The first line of a connection, before anything was asked.
void greet(Answer& answer) noexcept;

}  // namespace poireau::control
