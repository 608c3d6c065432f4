/* told: does what standard input tells it, a command a line, and answers each with a line that ends in "ok". What it
 * allocates besides what it is told to is up to libc.
 *   keep N SIZE    allocates N blocks          show           prints address and size of the blocks kept
 *   pass N SIZE    allocates and frees N       drop           frees the blocks kept
 *   swap N SIZE    N times frees a block and keeps another in its stead, of SIZE to 2 * SIZE bytes
 *   pin            those kept so far are not swapped
 *   who            prints process, parent, thread and what /proc says of the start, and the run id
 *   fork WAY       a child goes on with the next commands, until "end"; its parent waits, and answers then
 *   user ID, root PATH, folder PATH, mask MODE, limit BYTES (of a file), closed (everything above 2), filter (seccomp)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "sandbox.h"
#include "stats.h"

enum { kMost = 200000 };
static struct {
  void* at;
  size_t size;
} kept[kMost];
static size_t count, pinned;
static unsigned long state = 88172645463325252ul;

static unsigned long draw(void) {
  state ^= state << 13, state ^= state >> 7;
  return state ^= state << 17;
}

static void say(const char* format, ...) {
  static char line[256];
  va_list list;
  va_start(list, format);
  const int size = vsnprintf(line, sizeof line, format, list);
  va_end(list);
  if (write(1, line, (size_t)size) != size) _exit(8);
}

static int next_line(char* line) {
  for (int i = 0; i < 200; ++i) {
    if (read(0, line + i, 1) != 1) return 0;
    if (line[i] == '\n') return line[i] = 0, 1;
  }
  return 0;
}

static void keep(size_t size) {
  memset(kept[count].at = malloc(size), 1, size);
  kept[count++].size = size;
}

static void swap(size_t size) {
  const size_t i = pinned + draw() % (count - pinned);
  free(kept[i].at);
  kept[i] = kept[--count];
  keep(size + draw() % (size + 1));
}

static void who(void) {
  char text[1000] = {0};
  const struct poireau_stats stats = stats_now();
  const int file = open("/proc/self/stat", O_RDONLY);
  if (read(file, text, sizeof text - 1) < 0) _exit(8);
  close(file);
  char* field = strrchr(text, ')');
  for (int i = 2; i < 22; ++i) field = strchr(field + 1, ' ');
  unsigned long id[2];
  memcpy(id, stats.run_id, sizeof id);
  say("%d %d %d %lu %lx %lx\n", getpid(), getppid(), gettid(), strtoul(field, NULL, 10), id[0], id[1]);
}

static int ran_alone(const char* way) {
  const int pid = !strcmp(way, "raw") ? (int)syscall(SYS_fork) : way[0] == '_' ? _Fork() : fork();
  if (pid == 0) return 0;
  int status = -1;
  if (waitpid(pid, &status, 0) != pid || status != 0) say("child: %#x\n", status);
  return 1;
}

static int obey(const char* verb, const char* word, unsigned long number, size_t size) {
  static const int allowed[] = {FOR_MALLOC, SYS_read, -1};
  if (!strcmp(verb, "keep"))
    for (; number > 0; --number) keep(size);
  else if (!strcmp(verb, "pass"))
    for (; number > 0; --number) free(malloc(size));
  else if (!strcmp(verb, "swap"))
    for (; number > 0; --number) swap(size);
  else if (!strcmp(verb, "pin"))
    pinned = count;
  else if (!strcmp(verb, "drop"))
    for (pinned = 0; count > 0;) free(kept[--count].at);
  else if (!strcmp(verb, "show"))
    for (size_t i = 0; i < count; ++i) say("%lx %zu\n", (unsigned long)kept[i].at, kept[i].size);
  else if (!strcmp(verb, "who"))
    who();
  else if (!strcmp(verb, "fork"))
    return ran_alone(word) ? 0 : 1;
  else if (!strcmp(verb, "user"))
    return setgroups(0, NULL) || setresgid((gid_t)number, (gid_t)number, (gid_t)number) ||
           setresuid((uid_t)number, (uid_t)number, (uid_t)number);
  else if (!strcmp(verb, "root"))
    return chroot(word) || chdir("/");
  else if (!strcmp(verb, "folder"))
    return chdir(word);
  else if (!strcmp(verb, "mask"))
    umask((mode_t)number);
  else if (!strcmp(verb, "limit")) {
    const struct rlimit limit = {number, number};
    return setrlimit(RLIMIT_FSIZE, &limit);
  } else if (!strcmp(verb, "closed"))
    closefrom(3);
  else if (!strcmp(verb, "filter"))
    return sandbox_enter("prctl", allowed);
  else
    return 9;
  return 0;
}

int main(void) {
  char line[201];
  for (int depth = 0; next_line(line);) {
    if (!strcmp(line, "end") && depth > 0) _exit(0);
    char verb[20] = "", word[180] = "";
    size_t size = 0;
    sscanf(line, "%19s %179s %zu", verb, word, &size);
    const int result = obey(verb, word, strtoul(word, NULL, 0), size);
    if (!strcmp(verb, "fork") && result == 1)
      ++depth;
    else if (result != 0)
      say("%s: failed %d\n", line, result);
    say("ok\n");
  }
  return 0;
}
