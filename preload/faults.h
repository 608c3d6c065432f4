#pragma once
#include <signal.h>

/// The fault handler of guarded homes, and the program's own handlers behind it (wraps_signals.cc).
namespace poireau::faults {

/// Before the first guarded home of a process: our handlers for SIGSEGV and SIGBUS go in, the program's go behind.
/// Any thread, any time, also in a signal handler. False: they can't, so no home is to be guarded.
[[nodiscard]] bool be_armed() noexcept;
[[nodiscard]] bool armed() noexcept;

/// Whether guarded homes may come to exist in this process: from then on no mask blocks SIGSEGV and SIGBUS.
/// Called once, at load; unblocks both for the calling thread.
void expect_guards() noexcept;
[[nodiscard]] bool expected() noexcept;

/// The program has called sigaction, and lives: in a sandbox that came with us nobody is armed before.
void saw_sigaction_work() noexcept;

/// In a fork child, after process::forked.
void forked() noexcept;

/// The signals that an access to a guarded home raises.
constexpr bool watches(int number) noexcept { return number == SIGSEGV || number == SIGBUS; }

/// sigaction() for one of these: what there is behind our handler, or the kernel's own while there is none.
int change(int number, const struct sigaction* action, struct sigaction* old) noexcept;

}  // namespace poireau::faults
