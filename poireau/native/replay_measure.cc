#include "poireau/native/replay_measure.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <ctime>

namespace poireau::replay {

double ticks_of_nothing() noexcept {
  constexpr size_t kTries = 20'001;
  static Histogram seen;
  for (size_t i = 0; i < kTries; ++i) {
    const uint64_t before = ticks_before();
    seen.add(ticks_after() - before);
  }
  return seen.mean_of_shortest(0.99);
}

Usage usage() noexcept {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const auto microseconds = [](timeval time) {
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000 + static_cast<uint64_t>(time.tv_usec);
  };
  return {now.tv_sec * 1'000'000'000 + now.tv_nsec,
          ticks_before(),
          microseconds(used.ru_utime),
          microseconds(used.ru_stime),
          static_cast<uint64_t>(used.ru_minflt),
          static_cast<uint64_t>(used.ru_majflt)};
}

uint64_t resident(const char* which) noexcept {
  char text[8192];
  const int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t got = read(file, text, sizeof text - 1);
  close(file);
  text[std::max<ssize_t>(got, 0)] = '\0';
  const char* const at = std::strstr(text, which);
  return at == nullptr ? 0 : std::strtoull(at + std::strlen(which) + 1, nullptr, 10) << 10;
}

bool forget_peak() noexcept {
  const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  const bool done = file >= 0 && write(file, "5", 1) == 1;
  if (file >= 0) close(file);
  return done;
}

}  // namespace poireau::replay
