#pragma once
#include <cstdint>

/// What lifecycle.cc tells the wraps of libc's functions.
namespace poireau::wraps {

/// Finds what the functions of syscalls.def pass their calls on to.
void complete_calls() noexcept;

/// Which system calls are looked at: none; none, but they come by us (Shape::mask); those that fail with EFAULT; or
/// all, before they are made, too.
enum class Watching : uint8_t { none, unknown, passing, failures, all };
/// Once, when the options are known.
void watch_calls(Watching how) noexcept;

}  // namespace poireau::wraps
