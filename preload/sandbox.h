#pragma once

/// What the kernel will still let us do. A seccomp filter may kill the program for a call of ours that it would never
/// have made itself, so once there is one we make none: the sampled path only counts.
namespace poireau::sandbox {

enum class State : int { open, filtered, strict };

[[nodiscard]] State state() noexcept;

/// Looks for a filter that came with us through exec. Reads a file, as the loader has just done.
void look() noexcept;

/// A filter is about to be installed; returns the state before, to go back to if that fails.
State enter(State next) noexcept;
void leave(State before) noexcept;

}  // namespace poireau::sandbox
