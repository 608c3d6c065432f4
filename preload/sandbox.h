#pragma once

/// What the kernel will still let us do. A seccomp filter may kill the program for a call of ours that it would never
/// have made itself. Under one that came with us through exec (every container has one) we make the calls that the
/// loader and glibc's malloc make: mmap, munmap, mprotect, madvise(MADV_DONTNEED), and write. Under one that the
/// program installed itself, only the last three that give memory back or speak; in strict mode, which kills for more
/// than read and write, none.
namespace poireau::sandbox {

enum class State : int { open, inherited, filtered, strict };

[[nodiscard]] State state() noexcept;

/// Looks for a filter that came with us through exec. Reads a file, as the loader has just done.
void look() noexcept;

/// A filter is about to be installed; returns the state before, to go back to if that fails.
State enter(State next) noexcept;
void leave(State before) noexcept;

}  // namespace poireau::sandbox
