#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

/// Stacks of the calling thread. Takes no lock and no memory; for signal handlers too. At most `stack_depth` frames.
namespace poireau::stack {

constexpr size_t kMostFrames = 128;

/// What is set up but once, so that no signal handler comes into the middle of it. While nobody samples yet.
void begin() noexcept;

/// Writes the return addresses, innermost first, without those of this library; how many. They begin with `caller`,
/// the return address of the hook: where we are linked into the program nothing else tells our frames from its own.
/// What can't be unwound is `caller` alone.
[[gnu::noinline]] size_t capture(std::span<uintptr_t> out, const void* caller = nullptr) noexcept;

/// The same from the point that a signal interrupted: begins with the interrupted instruction itself. `context` is the
/// handler's ucontext_t.
[[gnu::noinline]] size_t capture_from(const void* context, std::span<uintptr_t> out) noexcept;

}  // namespace poireau::stack
