/* descriptors HOW: closes or replaces every descriptor there may be, the way of HOW, and tells what that was like; then
 * it uses a block after freeing it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FIRST = 3, LAST = 255 }; /* as `ulimit -n 256` has it */

static void use_after_free(void) {
  static char* volatile block;
  block = malloc(100);
  block[7] = 1;
  free(block);
  block[7] = 2;
}

static int closed, not_open, strange;

static void count(int result) {
  if (result >= 0)
    ++closed;
  else if (errno == EBADF)
    ++not_open;
  else
    ++strange;
}

static void replace_all(int kept) {
  for (int file = FIRST; file <= LAST; ++file) {
    const int got = file % 2 ? dup2(0, file) : dup3(0, file, O_CLOEXEC);
    count(got == file ? 0 : -1);
    if (!kept) close(file);
  }
}

static void close_all(const char* how) {
  if (!strcmp(how, "loop"))
    for (int file = FIRST; file <= LAST; ++file) count(close(file));
  if (!strcmp(how, "loop down"))
    for (int file = LAST; file >= FIRST; --file) count(close(file));
  if (!strcmp(how, "each range"))
    for (int file = FIRST; file <= LAST; ++file) count(close_range(file, file, 0));
  if (!strcmp(how, "closefrom")) closefrom(FIRST);
  if (!strcmp(how, "close_range")) count(close_range(FIRST, ~0U, 0));
  if (!strcmp(how, "unshare")) count(close_range(FIRST, ~0U, CLOSE_RANGE_UNSHARE));
  if (!strcmp(how, "cloexec")) count(close_range(FIRST, ~0U, CLOSE_RANGE_CLOEXEC));
  if (!strcmp(how, "wrong")) {
    count(close_range(FIRST, ~0U, 64));
    count(close_range(9, 8, 0));
    count(close(-1));
    count(dup2(-1, 5));
    count(dup2(0, -1));
    count(dup3(5, 5, 0));
    count(dup3(0, 5, 64));
  }
  if (!strcmp(how, "dup")) replace_all(0);
  if (!strcmp(how, "dup and keep")) replace_all(1);
  if (!strcmp(how, "from all")) /* none of what isn't open can be duplicated */
    for (int file = FIRST; file <= LAST; ++file) {
      count(dup2(file, FIRST + 1));
      count(dup3(file, FIRST + 1, 0));
      count(dup2(file, file));
      count(dup3(file, file, 0));
    }
}

int main(int arguments, char** argument) {
  const char *how = argument[1], *who = arguments > 2 ? argument[2] : "itself";
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur != LAST + 1) return 9;
  free(malloc(100)); /* whatever the library opens is open now */
  for (int i = 0; i < 5; ++i)
    if (open("/dev/null", O_RDONLY) < 0) return 8;
  const int pid = !strcmp(who, "fork") ? fork() : !strcmp(who, "vfork") ? vfork() : -1;
  if (pid <= 0) close_all(how);
  if (pid == 0 && !strcmp(who, "vfork")) _exit(0); /* its counts are ours */
  if (pid > 0 && waitpid(pid, NULL, 0) != pid) return 7;
  use_after_free();
  printf("%d closed, %d not open, %d strange\n", closed, not_open, strange);
  return 0;
}
