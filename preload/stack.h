#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// Stacks of the calling thread. Takes no lock and no memory; for signal handlers too. At most `stack_depth` frames.
namespace poireau::stack {

constexpr size_t kMostFrames = 128;

/// Chooses the unwinder that the options want, or the next one if that fails its test of itself (said in one line).
/// While nobody samples yet: no signal handler comes into the middle of it.
void begin() noexcept;
/// Its name.
[[nodiscard]] std::string_view unwinder() noexcept;
/// Before and after code goes from the address space (dlclose): what was known of it is forgotten.
void forget_code() noexcept;

/// Writes the return addresses, innermost first, without those of this library; how many. They begin with `caller`,
/// the return address of the hook: where we are linked into the program nothing else tells our frames from its own.
/// What can't be unwound is `caller` alone.
/// `truncated` is set to whether there was more than `out` or stack_depth have room for.
[[gnu::noinline]] size_t capture(std::span<uintptr_t> out, const void* caller = nullptr,
                                 bool* truncated = nullptr) noexcept;

/// The same from the point that a signal interrupted: begins with the interrupted instruction itself. `context` is the
/// handler's ucontext_t.
[[gnu::noinline]] size_t capture_from(const void* context, std::span<uintptr_t> out) noexcept;

/// One way to walk the stack of the calling thread.
struct Unwinder {
  std::string_view name;
  /// Makes it ready; false: it isn't to be had here. Once, before anybody samples.
  bool (*begin)() noexcept;
  /// Return addresses, innermost first, from the frame that returns to `caller` on, without ours: as many as fit. How
  /// many there were, more than `out` has room for if they did not all fit; 0: it can't walk this stack, ask libgcc.
  /// Bounded, and never faults.
  size_t (*walk)(std::span<uintptr_t> out, const void* caller) noexcept;
  /// The same from the instruction that a signal interrupted on; nullptr: libgcc does it.
  size_t (*walk_from)(std::span<uintptr_t> out, const void* context) noexcept = nullptr;
  /// Code is about to go, or has gone.
  void (*forget_code)() noexcept = nullptr;
};
[[gnu::visibility("hidden")]] extern const Unwinder kRows, kLibgcc, kLibunwind, kFramePointers;

// For the unwinders.

/// The code that is ours alone; none where we are part of the program. Known from `begin` on.
struct Code {
  uintptr_t begin = 0, end = 0;
  [[nodiscard]] bool holds(uintptr_t pc) const noexcept { return pc - begin < end - begin; }
};
[[gnu::visibility("hidden")]] extern constinit Code our_code;

/// What the greediest walk takes of the stack.
constexpr size_t kStackOfAWalk = 4 << 10;

/// Frames that a walk passes over, besides those it gives: ours, a handler's, those of who called the hook.
constexpr size_t kMostOfOurs = 64;

}  // namespace poireau::stack
