// pairs SIZE THREADS COUNT [MODE] [quiet]: COUNT calls a thread, thread i on CPU i. Prints the CPU
// nanoseconds one took, over all threads. MODE:
//   pair      malloc + free (the default)
//   calloc    calloc + free
//   realloc   one block, grown by 8 bytes and shrunk in turn, in place
//   malloc    COUNT blocks, never freed
//   free      COUNT blocks allocated first; only their free is timed
//   first     malloc, a write to the first byte, free
//   pages     malloc, a write to each page, free; timed once the allocator has settled
//   sizes     the same with random sizes from 2/3 to 4/3 of SIZE; one thread only
//   idle      a few blocks, then waits for the end of its standard input
//   exit      nothing
// `quiet` prints nothing: two runs then differ in the calls alone, as counting instructions needs.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { kMaxThreads = 64 };

static size_t size;
static long count;
static const char* mode = "pair";
static pthread_barrier_t start;
static double cpu_ns[kMaxThreads];

static inline void* escape(void* ptr) {
  __asm__ volatile("" : "+r"(ptr) : : "memory");  // the compiler may drop a pair it sees through
  return ptr;
}

static double thread_cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1e9 + now.tv_nsec;
}

static double loop_pair(void) {
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) free(escape(malloc(size)));
  return thread_cpu_ns() - begin;
}

static double loop_calloc(void) {
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) free(escape(calloc(1, size)));
  return thread_cpu_ns() - begin;
}

static double loop_realloc(void) {
  void* block = escape(malloc(size));
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) block = escape(realloc(block, size + (i & 1) * 8));
  return thread_cpu_ns() - begin;
}

// Mapped, because a batch in the heap would change what is measured.
static void** new_batch(void) {
  void** batch =
      mmap(NULL, count * sizeof *batch, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (batch == MAP_FAILED) perror("pairs: mmap"), exit(1);
  return batch;
}

static double loop_malloc(void) {
  void** batch = new_batch();
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) batch[i] = escape(malloc(size));
  return thread_cpu_ns() - begin;
}

static double loop_free(void) {
  void** batch = new_batch();
  for (long i = 0; i < count; ++i) batch[i] = escape(malloc(size));
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) free(batch[i]);
  return thread_cpu_ns() - begin;
}

static double loop_first(void) {
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) {
    char* block = escape(malloc(size));
    *block = 1;
    free(escape(block));
  }
  return thread_cpu_ns() - begin;
}

static void cycle(size_t bytes) {
  volatile char* block = escape(malloc(bytes));
  for (size_t at = 0; at < bytes; at += 4096) block[at] = 1;
  free(escape((void*)block));
}

static double loop_pages(void) {
  for (long i = 0; i < count / 4; ++i) cycle(size);
  const double begin = thread_cpu_ns();
  for (long i = 0; i < count; ++i) cycle(size);
  return thread_cpu_ns() - begin;
}

static void cycle_sizes(long times) {
  static uint32_t random = 1;
  for (long i = 0; i < times; ++i) {
    random = random * 1664525 + 1013904223;
    cycle(size * 2 / 3 + (size * 2 / 3 >> 16) * (random >> 16));
  }
}

static double loop_sizes(void) {
  cycle_sizes(count / 4);
  const double begin = thread_cpu_ns();
  cycle_sizes(count);
  return thread_cpu_ns() - begin;
}

static double loop_idle(void) {
  for (size_t i = 1; i <= 8; ++i) memset(escape(malloc(i * size)), 1, i * size);
  char byte;
  if (write(STDOUT_FILENO, "ready\n", 6) != 6) return 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) continue;
  return 0;
}

static double loop_exit(void) { return 0; }

static const struct {
  const char* name;
  double (*loop)(void);
} kModes[] = {{"pair", loop_pair}, {"calloc", loop_calloc}, {"realloc", loop_realloc}, {"malloc", loop_malloc},
              {"free", loop_free}, {"first", loop_first},   {"pages", loop_pages},     {"sizes", loop_sizes},
              {"idle", loop_idle}, {"exit", loop_exit}};

static double (*loop)(void);

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof set, &set);  // fewer CPUs than threads: stay where the kernel put us
}

static void* run(void* index) {
  const long i = (long)index;
  pin(i);
  pthread_barrier_wait(&start);
  cpu_ns[i] = loop();
  return NULL;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s SIZE THREADS COUNT [MODE] [quiet]\n", argv[0]);
    return 2;
  }
  size = strtoul(argv[1], NULL, 0);
  const long threads = strtol(argv[2], NULL, 0);
  count = strtol(argv[3], NULL, 0);
  if (argc > 4) mode = argv[4];
  for (size_t i = 0; i < sizeof kModes / sizeof *kModes; ++i)
    if (strcmp(mode, kModes[i].name) == 0) loop = kModes[i].loop;
  if (loop == NULL || threads < 1 || threads > kMaxThreads || count < 0) {
    fprintf(stderr, "%s: bad mode, thread count or count\n", argv[0]);
    return 2;
  }
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);

  pthread_barrier_init(&start, NULL, threads);
  if (threads == 1) {  // no second thread ever: glibc keeps its single-threaded paths
    run(0);
  } else {
    pthread_t ids[kMaxThreads];
    for (long i = 0; i < threads; ++i)
      if (pthread_create(&ids[i], NULL, run, (void*)i) != 0) return 1;
    for (long i = 0; i < threads; ++i) pthread_join(ids[i], NULL);
  }

  double total = 0;
  for (long i = 0; i < threads; ++i) total += cpu_ns[i];
  if (argc <= 5 && loop != loop_idle && loop != loop_exit) printf("%.4f\n", total / (threads * (double)count));
  return 0;
}
