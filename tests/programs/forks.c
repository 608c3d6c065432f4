// Forks while threads write: what parent and child see is what it would be without us.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kBlocks = 4000 };
static uint64_t* blocks[kBlocks];
static size_t sizes[kBlocks];
static atomic_int over;
extern char** environ;

static void die(const char* what, int i) {
  fprintf(stderr, "failed: %s %d\n", what, i);
  _exit(1);
}

static void fill(int i, uint64_t with) {
  for (size_t k = 0; k < sizes[i] / 8; ++k) blocks[i][k] = with + k;
}
static int holds(int i, uint64_t with) {
  for (size_t k = 0; k < sizes[i] / 8; ++k)
    if (blocks[i][k] != with + k) return 0;
  return 1;
}

static void make_all(unsigned seed) {
  for (int i = 0; i < kBlocks; ++i) {
    seed = seed * 1664525 + 1013904223;
    sizes[i] = 16 + (seed >> 16) % (i % 16 == 0 ? 40000 : 700) / 8 * 8;
    blocks[i] = malloc(sizes[i]);
    fill(i, (uint64_t)i << 32);
  }
}

// Two words that are always equal but between the two writes: a copy at one moment has them at most one apart.
static volatile uint64_t* pairs[64];
static void* write_pairs(void* unused) {
  for (uint64_t n = 1; !over; ++n)
    for (int i = 0; i < 64; ++i) {
      pairs[i][0] = n;
      pairs[i][100] = n;
    }
  return unused;
}
static void* allocate(void* unused) {
  while (!over) {
    char* p = malloc(100);
    memset(p, 1, 100);
    free(p);
  }
  return unused;
}

static int end_of(pid_t child) {
  int status = -1;
  if (waitpid(child, &status, 0) != child) die("waitpid", 0);
  return status;
}

static void look_at_pairs(void) {
  uint64_t first = pairs[0][0], last = pairs[63][100];
  for (int i = 0; i < 64; ++i) {
    uint64_t a = pairs[i][0], b = pairs[i][100];
    if (a - b > 1) die("a block was torn", i);
    if (first - a > 1 || a - last > 1) die("blocks are of different moments", i);
  }
}

static void in_child(int depth) {
  look_at_pairs();
  for (int i = 0; i < kBlocks; ++i)
    if (!holds(i, (uint64_t)i << 32)) die("content in the child", i);
  for (int i = 0; i < kBlocks; i += 2) fill(i, ~0ull);
  for (int i = 1; i < kBlocks; i += 4) {
    free(blocks[i]);
    blocks[i] = malloc(sizes[i]);
    fill(i, 7);
  }
  if (depth > 0) {
    const pid_t child = fork();
    if (child == 0) {
      for (int i = 0; i < kBlocks; ++i)
        if (!holds(i, i % 2 == 0 ? ~0ull : i % 4 == 1 ? 7 : (uint64_t)i << 32)) die("content in the grandchild", i);
      for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
      _exit(0);
    }
    if (end_of(child) != 0) die("grandchild", 0);
  }
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
  _exit(0);
}

static void forks(int count, pid_t (*make)(void), int threads) {
  pthread_t others[3];
  for (int i = 0; i < 64; ++i) pairs[i] = calloc(1, 1000);
  if (threads) {
    pthread_create(&others[0], NULL, write_pairs, NULL);
    pthread_create(&others[1], NULL, allocate, NULL);
  }
  make_all(1);
  for (int n = 0; n < count; ++n) {
    const pid_t child = make();
    if (child < 0) die("fork", n);
    if (child == 0) in_child(n % 3 == 0);
    const int status = end_of(child);
    if (status != 0) die("child", status);
    for (int i = 0; i < kBlocks; ++i)
      if (!holds(i, (uint64_t)i << 32)) die("content in the parent", i);
  }
  over = 1;
  for (int i = 0; i < 2 * threads; ++i) pthread_join(others[i], NULL);
  for (int i = 0; i < kBlocks; ++i) free(blocks[i]);
}

// Each generation goes on with what the one before has begun to fill.
static void generations(int left) {
  char* mine[8];
  for (int i = 0; i < 8; ++i) mine[i] = calloc(1, 5112);
  for (int i = 0; i < 8 && left % 2 == 0; ++i) free(mine[i]), mine[i] = NULL;
  const pid_t child = left > 0 ? fork() : -1;
  if (child == 0) {
    generations(left - 1);
    _exit(0);
  }
  if (left > 0 && end_of(child) != 0) die("generation", left);
  for (int i = 0; i < 8; ++i) free(mine[i]);
}

static pid_t raw(void) { return (pid_t)syscall(SYS_fork); }

// A thread holds a FILE's lock, which libc's child resets before anybody is asked.
static void* read_lines(void* file) {
  char line[64];
  while (fgets(line, sizeof line, file) != NULL && strcmp(line, "end\n") != 0) {
  }
  return NULL;
}
static void streams(int count) {
  int ends[2];
  if (pipe(ends) != 0) die("pipe", 0);
  FILE* file = fdopen(ends[0], "r");
  pthread_t reader;
  pthread_create(&reader, NULL, read_lines, file);
  for (int n = 0; n < count; ++n) {
    usleep(2000);
    const pid_t child = fork();
    if (child == 0) _exit(0);
    if (end_of(child) != 0) die("child", n);
    if (write(ends[1], "line\n", 5) != 5) die("write", n);
  }
  if (write(ends[1], "end\n", 4) != 4) die("write", 0);
  pthread_join(reader, NULL);
  clearerr(file);
  alarm(10);
  flockfile(file);  // if its lock was reset under the reader, it never comes free
  funlockfile(file);
  flockfile(file);
  fclose(file);
}

// What a thread keeps by keys beyond the first 32 lies in blocks that libc's child clears.
static pthread_key_t keys[100];
static atomic_int ready;
static void* keep(void* unused) {
  for (int i = 0; i < 100; ++i) pthread_setspecific(keys[i], (void*)(intptr_t)(i + 1));
  ready = 1;
  while (!over) usleep(1000);
  for (int i = 0; i < 100; ++i)
    if (pthread_getspecific(keys[i]) != (void*)(intptr_t)(i + 1)) die("a key's value", i);
  return unused;
}
static void specific(int count) {
  pthread_t keeper;
  for (int i = 0; i < 100; ++i) pthread_key_create(&keys[i], NULL);
  pthread_create(&keeper, NULL, keep, NULL);
  while (!ready) usleep(1000);
  for (int n = 0; n < count; ++n) {
    const pid_t child = fork();
    if (child == 0) _exit(0);
    end_of(child);
  }
  over = 1;
  pthread_join(keeper, NULL);
}

static void spawns(int count) {
  make_all(2);
  for (int n = 0; n < count; ++n) {
    char* argv[] = {"true", NULL};
    pid_t child;
    if (posix_spawnp(&child, "true", NULL, NULL, argv, environ) != 0 || end_of(child) != 0) die("posix_spawn", n);
    if (system("true") != 0) die("system", n);
    FILE* pipe = popen("echo 1", "r");
    if (pipe == NULL || fgetc(pipe) != '1' || pclose(pipe) != 0) die("popen", n);
    child = vfork();
    if (child == 0) _exit(3);
    if (WEXITSTATUS(end_of(child)) != 3) die("vfork", n);
  }
}

static void* fork_often(void* count) {
  for (int n = 0; n < *(int*)count; ++n) {
    uint64_t* mine = malloc(200);
    mine[3] = 42;
    const pid_t child = fork();
    if (child == 0) {
      if (mine[3] != 42) die("content", n);
      mine[3] = 1;
      free(mine);
      free(malloc(300));
      _exit(0);
    }
    if (child < 0 || end_of(child) != 0) die("child", n);
    if (mine[3] != 42) die("content in the parent", n);
    free(mine);
  }
  return NULL;
}
static void several(int count) {
  pthread_t threads[3];
  for (int i = 0; i < 3; ++i) pthread_create(&threads[i], NULL, fork_often, &count);
  for (int i = 0; i < 3; ++i) pthread_join(threads[i], NULL);
}

static atomic_int handled;
static void fork_in_handler(int number) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  if (end_of(child) != 0) die("child of a handler", number);
  ++handled;
}
static void handlers(int count) {
  signal(SIGUSR1, fork_in_handler);
  for (int n = 0; n < count; ++n) {
    void* p = malloc(64);
    raise(SIGUSR1);
    free(p);
  }
  if (handled != count) die("handlers", handled);
}

int main(int argc, char** argv) {
  const char* what = argv[1];
  const int count = atoi(argv[2]);
  (void)argc;
  if (strcmp(what, "alone") == 0) forks(count, fork, 0);
  if (strcmp(what, "threads") == 0) forks(count, fork, 1);
  if (strcmp(what, "raw") == 0) forks(count, raw, 0);
  if (strcmp(what, "_Fork") == 0) forks(count, _Fork, 0);
  if (strcmp(what, "streams") == 0) streams(count);
  if (strcmp(what, "specific") == 0) specific(count);
  if (strcmp(what, "generations") == 0) generations(count < 12 ? count : 12);
  if (strcmp(what, "spawn") == 0) spawns(count);
  if (strcmp(what, "several") == 0) several(count);
  if (strcmp(what, "handler") == 0) handlers(count);
  puts("fine");
  return 0;
}
