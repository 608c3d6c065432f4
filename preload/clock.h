#pragma once
#include <cstdint>

/// What samples are stamped with: cpu::ticks(), or 1 where reading them would be the end (seccomp's strict mode). And
/// what they mean: the kernel is asked now and then, and never in a sandbox.
namespace poireau::clock {

[[nodiscard]] uint64_t ticks() noexcept;

/// In a fork child.
void forked() noexcept;
/// Where counting starts.
void begin() noexcept;
/// Better the longer it is since `begin`.
[[nodiscard]] uint64_t ticks_per_second() noexcept;
/// CLOCK_MONOTONIC's nanoseconds at that moment. A moment's answer may change a little from call to call.
[[nodiscard]] uint64_t nanoseconds(uint64_t ticks) noexcept;
/// Nanoseconds since `begin`.
[[nodiscard]] uint64_t age() noexcept;
/// CLOCK_REALTIME less CLOCK_MONOTONIC, in nanoseconds.
[[nodiscard]] int64_t realtime_offset() noexcept;

}  // namespace poireau::clock
