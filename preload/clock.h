#pragma once
#include <cstdint>

/// What samples are stamped with: cpu::ticks(), or 1 where reading them would be the end (seccomp's strict mode). And
/// how many make a second: the kernel is asked now and then, and never in a sandbox.
namespace poireau::clock {

[[nodiscard]] uint64_t ticks() noexcept;

/// Where counting starts.
void begin() noexcept;
/// Better the longer it is since `begin`.
[[nodiscard]] uint64_t ticks_per_second() noexcept;

}  // namespace poireau::clock
