// million COUNT SIZE FORKS: so many live blocks, each written to. Says "ready" before, "done" behind, and waits each
// time for a line. Then forks; prints the CPU nanoseconds until fork() returned: the parent's, and the child's.
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t cpu_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void* map(size_t size, int kind) {
  void* got = mmap(NULL, size, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (got == MAP_FAILED) perror("million: mmap"), exit(1);
  return got;
}

// By write and read alone: stdio would allocate.
static void say(const char* text) {
  char byte;
  if (write(STDOUT_FILENO, text, strlen(text)) < 0 || read(STDIN_FILENO, &byte, 1) != 1) _exit(1);
}

static void time_fork(volatile int64_t* child_ns) {
  const int64_t begin = cpu_ns();
  const pid_t child = fork();
  const int64_t end = cpu_ns();
  if (child == 0) {
    *child_ns = end;
    _exit(0);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child || status != 0) _exit(1);
  char line[64];
  const int length = snprintf(line, sizeof line, "%lld %lld\n", (long long)(end - begin), (long long)*child_ns);
  if (write(STDOUT_FILENO, line, length) != length) _exit(1);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s COUNT SIZE FORKS\n", argv[0]);
    return 2;
  }
  const long count = strtol(argv[1], NULL, 0), forks = strtol(argv[3], NULL, 0);
  const size_t size = strtoul(argv[2], NULL, 0);
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  char** blocks = map(count * sizeof *blocks, MAP_PRIVATE);
  int64_t* child_ns = map(sizeof *child_ns, MAP_SHARED);
  say("ready\n");
  for (long i = 0; i < count; ++i) {
    blocks[i] = malloc(size);
    if (blocks[i] == NULL) return 1;
    memset(blocks[i], 1, size);
  }
  say("done\n");
  for (long i = 0; i < forks; ++i) time_fork(child_ns);
  _exit(0);  // the blocks are not to be looked at again
}
