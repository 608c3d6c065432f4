/* jump THREADS MEGABYTES QUIET LOUD: each thread is busy all the time, requests so many megabytes a second for QUIET
 * seconds, and a hundred times as many for LOUD seconds, 20 calls deep. Prints a line a second: the phase, CPU time,
 * Poireau's own time (without what it waited for a processor), the same with it, all in seconds; samples, and the
 * period. */
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <x86intrin.h>

#include "stats.h"

enum { kFrames = 20, kKept = 1024, kBatch = 64, kThreads = 64 };

static _Atomic double rate;  // bytes a tick
static _Atomic int phase;    // 0: quiet, 1: loud, 2: over

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

struct work {
  void* kept[kKept];
  uint64_t random;
};

static size_t allocate(struct work* work) {
  size_t bytes = 0;
  for (int i = 0; i < kBatch; ++i) {
    work->random = work->random * 6364136223846793005u + 1442695040888963407u;
    void** place = &work->kept[(work->random >> 33) % kKept];
    const size_t size = 16 + (work->random >> 48) % 2000;
    free(*place);
    *place = malloc(size);
    *(char*)*place = 1;
    bytes += size;
  }
  return bytes;
}

__attribute__((noinline)) static size_t descend(struct work* work, int frames) {
  const size_t bytes = frames == 0 ? allocate(work) : descend(work, frames - 1);
  __asm__ volatile("" ::: "memory");
  return bytes;
}

static void* run(void* number) {
  struct work work = {.random = (uint64_t)(uintptr_t)number + 1};
  for (int known = 0; known < 2;) {
    const uint64_t begin = __rdtsc();
    double due = 0;
    for (; phase == known; due += (double)descend(&work, kFrames)) {
      // Who was held up doesn't make up for it for long.
      const double allowed = (double)(__rdtsc() - begin) * rate;
      if (due < allowed - 1e6) due = allowed - 1e6;
      while ((double)(__rdtsc() - begin) * rate < due && phase == known) {
      }
    }
    known = phase;
  }
  for (int i = 0; i < kKept; ++i) free(work.kept[i]);
  return NULL;
}

int main(int argc, char** argv) {
  if (argc != 5) return 2;
  const int threads = atoi(argv[1]), last[2] = {atoi(argv[3]), atoi(argv[4])};
  const double megabytes = atof(argv[2]);
  const double began = seconds(CLOCK_MONOTONIC);
  const uint64_t first_tick = __rdtsc();
  nanosleep(&(struct timespec){0, 100 * 1000 * 1000}, NULL);
  const double second = (double)(__rdtsc() - first_tick) / (seconds(CLOCK_MONOTONIC) - began);
  rate = megabytes * 1e6 / second;
  pthread_t ids[kThreads];
  for (int i = 0; i < threads; ++i) pthread_create(&ids[i], NULL, run, (void*)(uintptr_t)i);
  for (int now = 0; now < 2; ++now) {
    if (now == 1) rate = rate * 100;
    phase = now;
    struct poireau_stats before = stats_now();
    double used = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < last[now]; ++i) {
      nanosleep(&(struct timespec){1, 0}, NULL);
      const struct poireau_stats after = stats_now();
      const double use = seconds(CLOCK_PROCESS_CPUTIME_ID);
      const double all = (double)(after.cycles - before.cycles) / second;
      const double waits = (double)(after.overlong_cycles - before.overlong_cycles) / second;
      printf("%s %.6f %.6f %.6f %ld %ld\n", now ? "loud" : "quiet", use - used, all - waits, all,
             (long)(after.samples - before.samples), (long)after.sample_period);
      fflush(stdout);
      before = after;
      used = use;
    }
  }
  phase = 2;
  for (int i = 0; i < threads; ++i) pthread_join(ids[i], NULL);
  return 0;
}
