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
  /// Return addresses, innermost first, from the frame that returns to `caller` on, as many as fit; 0: it can't walk
  /// this stack, ask libgcc. Bounded, and never faults.
  size_t (*walk)(std::span<uintptr_t> out, const void* caller) noexcept;
};
[[gnu::visibility("hidden")]] extern const Unwinder kRows, kLibgcc, kLibunwind, kFramePointers;

}  // namespace poireau::stack
