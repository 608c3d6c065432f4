#pragma once
#include "preload/control_answer.h"

/// What is asked about freed remapped blocks: a sweep, and who points at those that it has kept.
namespace poireau::control {

void sweep_now(Answer& answer) noexcept;
void tell_holders(Answer& answer) noexcept;

/// The totals of all sweeps, into the object that is open.
void add_sweeps(Answer& answer) noexcept;

}  // namespace poireau::control
