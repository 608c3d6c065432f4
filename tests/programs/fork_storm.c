/* fork_storm WAY N: forks while threads allocate. After _Fork and the bare call only what glibc itself allows in a
 * child of theirs is done: nothing that may need a lock of malloc's, so small blocks from the thread's own cache. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int stop;
static void* churn(void* unused) {
  while (!stop)
    for (size_t size = 1; size < 100000; size *= 3) free(malloc(size)), free(realloc(calloc(3, size), size));
  return unused;
}

int main(int count, char** argument) {
  pthread_t threads[4];
  for (int i = 0; i < 4; ++i) pthread_create(&threads[i], NULL, churn, NULL);
  const int whole = !strcmp(argument[1], "fork");
  for (int left = atoi(argument[2]); left > 0; --left) {
    for (int i = 0; i < 5; ++i) free(malloc(24));
    const int pid = whole ? fork() : argument[1][0] == '_' ? _Fork() : (int)syscall(SYS_fork);
    if (pid == 0) {
      for (int i = 0; i < 5000; ++i) free(malloc(whole ? (size_t)i * 10 : 24));
      _exit(0);
    }
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0) return printf("child: %#x\n", status), 1;
  }
  stop = 1;
  for (int i = 0; i < 4; ++i) pthread_join(threads[i], NULL);
  return count == 0;
}
