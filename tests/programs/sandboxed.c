/* sandboxed HOW [fork]: HOW = prctl, syscall, tsync, bare: enters a sandbox where malloc may do what glibc's needs and
 * nothing else; strict: the old mode of four calls; inherited: it is in one already. Then it allocates for all it is
 * worth, on two threads where it may, and says whether samples went on. */
#include <pthread.h>
#include <sys/wait.h>

#include "sandbox.h"
#include "stats.h"

static pthread_barrier_t barrier;
static int strict;

static void work(void) {
  static const size_t sizes[] = {0, 16, 100, 5000, 200000, 3000000};
  for (int i = 0; i < 3000; ++i) {
    const size_t size = strict ? 100 : sizes[i % 6];
    void* blocks[] = {malloc(size), calloc(1, size), realloc(malloc(10), size + 1), aligned_alloc(64, size)};
    for (int j = 0; j < 4; ++j) free(blocks[j]);
  }
  for (int i = 0; i < 3 && !strict; ++i) { /* grows the heap and trims it */
    static void* blocks[1000];
    for (int j = 0; j < 1000; ++j) memset(blocks[j] = malloc(10000), 1, 10000);
    for (int j = 0; j < 1000; ++j) free(blocks[j]);
  }
}

static void* other_thread(void* unused) {
  free(malloc(100));
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < 3000; ++i) free(malloc(100)), free(malloc(100000));
  pthread_barrier_wait(&barrier);
  pthread_barrier_wait(&barrier); /* for ever: a futex is all it may wait with */
  return unused;
}

int main(int count, char** argument) {
  const char* how = argument[1];
  const int forks = count > 2;
  const int plain[] = {FOR_MALLOC, -1}, with_fork[] = {FOR_MALLOC, FOR_FORK, -1};
  strict = !strcmp(how, "strict");
  const int inherited = !strcmp(how, "inherited");
  const int threaded = !strict && !inherited && !forks;
  static char buffer[1000];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  pthread_t thread;
  pthread_barrier_init(&barrier, NULL, 2);
  if (threaded) {
    pthread_create(&thread, NULL, other_thread, NULL);
    pthread_barrier_wait(&barrier);
  }
  if (!inherited) work();
  if (strict      ? prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)
      : inherited ? 0
                  : sandbox_enter(how, forks ? with_fork : plain))
    return 9;
  const struct poireau_stats before = stats_now();
  if (threaded) pthread_barrier_wait(&barrier);
  work();
  if (threaded) pthread_barrier_wait(&barrier);
  if (forks) {
    const int pid = fork();
    if (pid == 0) {
      work();
      _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status) return 8;
  }
  const struct poireau_stats after = stats_now();
  printf("alive, %s\n", after.samples > before.samples ? "sampling" : "not sampling");
  fflush(stdout);
  bare_syscall(strict ? SYS_exit : SYS_exit_group, 0, 0, 0);
}
