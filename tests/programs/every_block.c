/* every_block ROUNDS: allocates in every way that matters where each block is protected: many sizes, threads, forks,
 * large blocks, reads of what is freed, and enough that addresses are swept. What it prints depends on nothing else. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kKept = 600, kThreads = 2 };
static int rounds;

struct kept {
  unsigned char* at;
  size_t size;
  unsigned char with;
};

static void check(const struct kept* kept) {
  for (size_t i = 0; i < kept->size; i += i < 64 ? 1 : 509)
    if (kept->at[i] != kept->with) puts("changed"), abort();
  if (malloc_usable_size(kept->at) < kept->size) puts("small"), abort();
}

static size_t some(uint32_t random) {
  return random % 512 == 0 ? random >> 10 & 0x3ffff : random % 64 == 0 ? random >> 12 & 0x7fff : random >> 20 & 0x1ff;
}

/* The sum of all sizes there were. */
static uint64_t churn(uint32_t random, int steps) {
  struct kept* kept = calloc(kKept, sizeof *kept);
  uint64_t sum = 0;
  for (int i = 0; i < steps; ++i) {
    random = random * 1664525 + 1013904223;
    struct kept* one = &kept[(random >> 4) % kKept];
    const size_t size = some(random * 2654435761u) + 1;
    if (one->at != NULL) check(one);
    errno = 77;
    if (random >> 30 == 0) {
      unsigned char* const moved = realloc(one->at, size);
      for (size_t j = 0; j < (size < one->size ? size : one->size); j += 61)
        if (moved[j] != one->with) puts("lost"), abort();
      one->at = moved;
    } else {
      free(one->at);
      one->at = random >> 30 == 1   ? calloc(1, size)
                : random >> 30 == 2 ? aligned_alloc(64, (size + 63) & ~63ul)
                                    : malloc(size);
      for (size_t j = 0; random >> 30 == 1 && j < size; j += 61)
        if (one->at[j] != 0) puts("not zero"), abort();
    }
    if (one->at == NULL || errno != 77) puts("errno"), abort();
    one->size = size, one->with = (unsigned char)random;
    memset(one->at, one->with, size);
    sum += size;
  }
  for (int i = 0; i < kKept; ++i) free(kept[i].at);
  free(kept);
  return sum;
}

/* Most die, but some on every page stay: only a sweep makes their memory usable again. */
static void age(void) {
  enum { kBlocks = 8000 };
  static char* blocks[kBlocks];
  for (int turn = 0; turn < 2; ++turn) {
    for (int i = 0; i < kBlocks; ++i) blocks[i] = malloc(500);
    for (int i = 0; i < kBlocks; ++i) {
      if (i % 32 == 0) continue;
      free(blocks[i]);
      if (i % 2 == 0) blocks[i] = NULL; /* the others are pointed at */
    }
    churn(4, 500);
    for (int i = 0; i < kBlocks; i += 32) free(blocks[i]);
  }
}

static void* run(void* seed) { return (void*)(uintptr_t)churn((uint32_t)(uintptr_t)seed, 1500 * rounds); }

int main(int count, char** argument) {
  rounds = count > 1 ? atoi(argument[1]) : 1;
  setvbuf(stdout, NULL, _IONBF, 0);
  printf("alone %lu\n", (unsigned long)churn(1, 3000 * rounds));
  age();
  pthread_t threads[kThreads];
  for (uintptr_t i = 0; i < kThreads; ++i) pthread_create(&threads[i], NULL, run, (void*)(i + 2));
  char* const shared = strdup("before");
  int wrong = 0;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = fork();
    if (child == 0) _exit(churn(9, 800) == 0 || strcmp(shared, "before") != 0);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) wrong = 1;
  }
  printf("forks %d\n", wrong);
  for (uintptr_t i = 0; i < kThreads; ++i) {
    void* sum;
    pthread_join(threads[i], &sum);
    printf("thread %lu\n", (unsigned long)(uintptr_t)sum);
  }
  unsigned char* volatile freed = malloc(2000);
  memset(freed, 5, 2000);
  free(freed);
  (void)*(volatile unsigned char*)(freed + 10);
  puts("done");
  return 0;
}
