#pragma once
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <ctime>

/// Waiting in the kernel for a word of memory to change.
namespace poireau::replay {

/// Until somebody wakes us, `word` is no longer `seen`, or that time is over; or for no reason.
inline void sleep_while(const void* word, uint32_t seen, int64_t nanoseconds) noexcept {
  const timespec most{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, &most, nullptr, 0);
}
inline void wake_all(const void* word) noexcept {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace poireau::replay
