/* lttng_blocks HOW COUNT: asks for COUNT blocks of 12345 bytes, the way of HOW, and frees each. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

enum { SIZE = 12345, THREADS = 4, MORE = 7 };

static int count;

static void* blocks(void* number) {
  for (int i = 0; i < *(int*)number; ++i) {
    void* volatile block = malloc(SIZE);
    free(block);
  }
  return NULL;
}

static void in_threads(void) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; ++i) pthread_create(&threads[i], NULL, blocks, &count);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
}

/* What a daemon does to whatever it has inherited; then it wants the lowest numbers for itself. */
static int close_all(const char* how) {
  if (!strcmp(how, "loop"))
    for (int file = 3; file < 4096; ++file) close(file);
  if (!strcmp(how, "range")) close_range(3, ~0U, 0);
  if (!strcmp(how, "from")) closefrom(3);
  if (!strcmp(how, "dup"))
    for (int file = 3; file < 300; ++file)
      if (dup2(0, file) != file || close(file)) return 1;
  return open("/dev/null", O_RDONLY) != 3;
}

static void wait_for_a_line(void) {
  char c;
  puts("ready");
  fflush(stdout);
  while (read(0, &c, 1) == 1 && c != '\n') {
  }
}

int main(int arguments, char** argument) {
  if (arguments != 3) return 2;
  const char* const how = argument[1];
  count = atoi(argument[2]);
  int more = count + MORE;
  if (!strcmp(how, "environment")) { /* as the library has left it */
    for (char** each = environ; *each; ++each) puts(*each);
    return 0;
  }
  if (!strcmp(how, "threads")) {
    in_threads();
    return 0;
  }
  blocks(&count);
  if (!strcmp(how, "killed")) raise(SIGKILL);
  if (!strcmp(how, "waits")) {
    wait_for_a_line();
    blocks(&count);
  }
  if (!strcmp(how, "forks")) {
    const pid_t child = fork();
    if (child == 0) {
      blocks(&more);
      return 0;
    }
    int status;
    if (waitpid(child, &status, 0) != child) return 3;
    printf("%d %d\n", getpid(), child);
    return status != 0;
  }
  if (!strncmp(how, "closes ", 7) || !strncmp(how, "daemon ", 7)) {
    if (how[0] == 'd') {
      const pid_t child = fork();
      int status;
      if (child != 0) return waitpid(child, &status, 0) != child || status != 0;
    }
    if (close_all(how + 7)) return 4;
    blocks(&count);
    exit(0);
  }
  return 0;
}
