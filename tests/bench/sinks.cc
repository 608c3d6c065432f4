// sinks MODE FRAMES COUNT [SIZE]: beneath so many frames, each of a function of its own. MODE:
//   pairs    malloc + free; prints the CPU nanoseconds of a pair
//   calls    the same; prints the nanoseconds that 50, 99, 99.9, 99.99 and 100 % of all calls stayed below
//   memory   the same; prints the process's memory in KiB at the end
//   memcpy   copies SIZE bytes to one place after the other in 4 MiB; prints the nanoseconds of a copy
//   write    writes SIZE bytes to standard output, a file, which starts over after 4 MiB
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

namespace {

constexpr size_t kRoom = 4 << 20;
constexpr int kMostFrames = 64, kOwnFrames = 3;  // ours: of the mode, main, and who called main

const char* mode;
long count;
size_t size = 64;

void* escape(void* ptr) {
  __asm__ volatile("" : "+r"(ptr) : : "memory");  // the compiler may drop a pair it sees through
  return ptr;
}

double now(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

[[gnu::always_inline]] inline void pair() { free(escape(malloc(size))); }

void time_pairs() {
  for (long i = 0; i < count / 10; ++i) pair();
  const double begin = now(CLOCK_THREAD_CPUTIME_ID);
  for (long i = 0; i < count; ++i) pair();
  printf("%.1f\n", (now(CLOCK_THREAD_CPUTIME_ID) - begin) / static_cast<double>(count));
}

/// Of cycles: 32 steps each time they double.
struct Histogram {
  static constexpr int kSteps = 5;
  uint32_t counts[64 << kSteps];
  uint64_t calls, longest;

  void add(uint64_t cycles) {
    const int bits = 63 - __builtin_clzll(cycles | 1 << kSteps);
    ++counts[(bits << kSteps) + ((cycles >> (bits - kSteps)) & ((1 << kSteps) - 1))];
    ++calls;
    if (cycles > longest) longest = cycles;
  }
  double below(double share) const {
    uint64_t left = static_cast<uint64_t>(static_cast<double>(calls) * share);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i) {
      if (counts[i] > left)
        return static_cast<double>((uint64_t{1} << kSteps) + (i & ((1 << kSteps) - 1))) *
               static_cast<double>(uint64_t{1} << (i >> kSteps)) / (1 << kSteps);
      left -= counts[i];
    }
    return static_cast<double>(longest);
  }
};
Histogram histogram;

void time_calls() {
  for (long i = 0; i < count / 10; ++i) pair();
  const double begin = now(CLOCK_MONOTONIC);
  const uint64_t first = __rdtsc();
  for (long i = 0; i < count; ++i) {
    const uint64_t before = __rdtsc();
    void* const block = escape(malloc(size));
    const uint64_t between = __rdtsc();
    free(block);
    const uint64_t after = __rdtsc();
    histogram.add(between - before);
    histogram.add(after - between);
  }
  const double cycle = (now(CLOCK_MONOTONIC) - begin) / static_cast<double>(__rdtsc() - first);
  constexpr double kShares[] = {.5, .99, .999, .9999, 1};
  for (const double share : kShares) printf("%.0f ", histogram.below(share) * cycle);
  printf("\n");
}

void look_at_memory() {
  for (long i = 0; i < count; ++i) pair();
  FILE* status = fopen("/proc/self/status", "r");
  char line[256];
  while (status != nullptr && fgets(line, sizeof line, status) != nullptr)
    if (long kib; sscanf(line, "VmRSS: %ld", &kib) == 1) printf("%ld\n", kib);
}

void* room() {
  void* const got = mmap(nullptr, kRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (got == MAP_FAILED) exit(1);
  return got;
}

void time_memcpy() {
  static const char source[4096] = "";
  if (size > sizeof source) exit(2);
  char* const to = static_cast<char*>(room());
  size_t at = 0;
  const double begin = now(CLOCK_THREAD_CPUTIME_ID);
  for (long i = 0; i < count; ++i) {
    memcpy(escape(to + at), source, size);
    at = at + 2 * size < kRoom ? at + size : 0;
  }
  fprintf(stderr, "%.1f\n", (now(CLOCK_THREAD_CPUTIME_ID) - begin) / static_cast<double>(count));
}

void time_write() {
  static const char source[4096] = "";
  if (size > sizeof source) exit(2);
  size_t at = 0;
  const double begin = now(CLOCK_THREAD_CPUTIME_ID);
  for (long i = 0; i < count; ++i) {
    if (write(STDOUT_FILENO, source, size) < 0) exit(1);
    if ((at += size) < kRoom) continue;
    at = 0;
    if (lseek(STDOUT_FILENO, 0, SEEK_SET) != 0) exit(1);
  }
  fprintf(stderr, "%.1f\n", (now(CLOCK_THREAD_CPUTIME_ID) - begin) / static_cast<double>(count));
}

constexpr struct {
  const char* name;
  void (*run)();
} kModes[] = {{"pairs", time_pairs},
              {"calls", time_calls},
              {"memory", look_at_memory},
              {"memcpy", time_memcpy},
              {"write", time_write}};

void run() {
  for (const auto& each : kModes)
    if (strcmp(each.name, mode) == 0) return each.run();
  exit(2);
}

template <int kAbove>
[[gnu::noinline]] void beneath(int frames) {
  if (frames <= 0)
    run();
  else if constexpr (kAbove < kMostFrames)
    beneath<kAbove + 1>(frames - 1);
  __asm__ volatile("");  // no tail call
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  mode = argv[1];
  count = strtol(argv[3], nullptr, 0);
  if (argc > 4) size = strtoul(argv[4], nullptr, 0);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  sched_setaffinity(0, sizeof set, &set);  // not there: stay where the kernel put us
  beneath<0>(atoi(argv[2]) - kOwnFrames);
}
