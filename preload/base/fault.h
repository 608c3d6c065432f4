#pragma once
#include <cerrno>
#include <cstdint>

/// Makes the n-th system call fail, in builds with POIREAU_FAULTS; costs nothing in the others.
namespace poireau::fault {
#ifdef POIREAU_FAULTS
inline thread_local int64_t countdown = -1;
inline thread_local int error = ENOMEM;

/// The error this call has to fail with, or 0.
inline int due() noexcept { return countdown >= 0 && countdown-- == 0 ? error : 0; }

/// Runs `body` once per system call it makes, failing that call; then once with none failing. Returns how many.
template <typename Body>
int for_each_fault(Body&& body, int with = ENOMEM) {
  error = with;
  for (int nth = 0;; ++nth) {
    countdown = nth;
    body();
    const bool injected = countdown < 0;
    countdown = -1;
    if (!injected) return nth;
  }
}
#else
constexpr int due() noexcept { return 0; }
#endif
}  // namespace poireau::fault
