// turns_bench ROUNDS COUNT: what control takes of a sample while nobody is connected. Prints, a line a round, the CPU
// nanoseconds of a turn that looks, of a poll alone, and of seeing that no turn is due.
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "preload/clock.h"
#include "preload/control.h"
#include "preload/control_socket.h"

namespace {

using namespace poireau;

std::atomic<uint64_t> due{UINT64_MAX};

void see_that_none_is_due() {
  if (clock::ticks() >= due.load(std::memory_order_relaxed)) abort();
}

void poll_alone() {
  pollfd which{control::listener(), POLLIN, 0};
  syscall(SYS_poll, &which, 1, 0);
}

template <typename Body>
double nanoseconds(long count, Body&& body) {
  timespec begin, end;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
  for (long i = 0; i < count; ++i) body();
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
  return (static_cast<double>(end.tv_sec - begin.tv_sec) * 1e9 + static_cast<double>(end.tv_nsec - begin.tv_nsec)) /
         static_cast<double>(count);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const long rounds = atol(argv[1]), count = atol(argv[2]);
  control::serve();
  if (control::listener() == 0) {
    fputs("there is no socket to look at\n", stderr);
    return 1;
  }
  for (long round = 0; round < rounds; ++round) {
    const double turn = nanoseconds(count, control::serve), poll = nanoseconds(count, poll_alone);
    std::printf("%.1f %.1f %.2f\n", turn, poll, nanoseconds(count, see_that_none_is_due));
  }
}
