#pragma once

/// What lifecycle.cc tells the wraps of libc's functions.
namespace poireau::wraps {

/// Whether system calls that fail with EFAULT are to be looked at. Once, when the options are known.
void watch_calls(bool wanted) noexcept;

}  // namespace poireau::wraps
