/* controlled [IN OUT]: works while others control it, and does what descriptor IN (0) tells it, a command a line; it
 * answers each on OUT (1) with a line that ends in "ok". Compiled with -DEARLY, all of it is a constructor's work.
 * controlled under eperm|kill PROGRAM...: executes it where sockets are forbidden.
 *   work THREADS SIZE RATE   starts threads that allocate so many MB a second each (0: all they can); idle ends them
 *   stack BYTES              of those threads
 *   cancel THREADS           starts threads that allocate, cancels them asynchronously, for a second
 *   made                     prints calls and bytes of that work, and the CPU time of all in ns
 *   pass N SIZE, keep N SIZE, show, drop, free I, put I OFFSET (writes a byte there)
 *   children N WAY           prints the pids of children that work for a minute, or until "end"
 *   borrow MS WAY            a child in this memory allocates for so long (vfork, CLONE_VM), or executes (exec)
 *   close WAY                all above 2          files      prints what is open
 *   steal WHAT               something else gets the number of our listener; robbed prints what became of it
 *   limit N, exhaust, relieve (descriptors), user ID, root PATH, filter HOW, exec
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "sandbox.h"

enum { kMost = 100000, kThreads = 64 };
static int in = 0, out = 1;

static void say(const char* format, ...) {
  static char line[512];
  va_list list;
  va_start(list, format);
  const int size = vsnprintf(line, sizeof line, format, list);
  va_end(list);
  if (write(out, line, (size_t)size) != size) _exit(8);
}

static int next_line(char* line) {
  for (int i = 0; i < 200; ++i) {
    if (read(in, line + i, 1) != 1) return 0;
    if (line[i] == '\n') return line[i] = 0, 1;
  }
  return 0;
}

static void sleep_ms(long ms) {
  struct timespec left = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&left, &left) != 0) {
  }
}

static long now_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Work */

static struct {
  pthread_t thread[kThreads];
  size_t count, stack, size, rate;
  atomic_int over;
  atomic_ulong calls;
} work;

static void* worker(void* unused) {
  const size_t round = work.rate ? work.rate * 1000 / work.size + 1 : 1000;
  while (!atomic_load(&work.over)) {
    for (size_t i = 0; i < round; ++i) free(malloc(work.size));
    atomic_fetch_add(&work.calls, round);
    if (work.rate) sleep_ms(1);
  }
  return unused;
}

static int start(size_t threads, size_t size, size_t rate) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (work.stack && pthread_attr_setstacksize(&attributes, work.stack)) return 1;
  work.size = size, work.rate = rate, work.over = 0;
  for (; work.count < threads; ++work.count)
    if (pthread_create(&work.thread[work.count], &attributes, worker, NULL)) return 2;
  return 0;
}

static int stop(void) {
  atomic_store(&work.over, 1);
  while (work.count > 0)
    if (pthread_join(work.thread[--work.count], NULL)) return 1;
  return 0;
}

static void* cancelled(void* unused) {
  /* Nothing of libc's may be cancelled so: all blocks are big enough to have homes of ours, or none at all. */
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  for (;;) free(malloc(100));
  return unused;
}

static int cancel(size_t threads) {
  for (const long end = now_ns(CLOCK_MONOTONIC) + 1000000000; now_ns(CLOCK_MONOTONIC) < end;) {
    pthread_t thread[kThreads];
    for (size_t i = 0; i < threads; ++i)
      if (pthread_create(&thread[i], NULL, cancelled, NULL)) return 1;
    sleep_ms(3);
    for (size_t i = 0; i < threads; ++i) pthread_cancel(thread[i]);
    for (size_t i = 0; i < threads; ++i) pthread_join(thread[i], NULL);
  }
  return 0;
}

/* Blocks */

static char* kept[kMost];
static size_t blocks;

static int keep(unsigned long number, size_t size) {
  for (; number > 0 && blocks < kMost; --number) memset(kept[blocks++] = malloc(size), 1, size);
  return number > 0;
}

/* Processes */

static pid_t children[kMost];
static size_t born;

static void live(void) {
  alarm(60);
  for (;;) free(malloc(1000)), sleep_ms(1);
}

static void close_all(const char* how) {
  if (!strcmp(how, "loop"))
    for (int file = 3; file < 4096; ++file) close(file);
  if (!strcmp(how, "closefrom")) closefrom(3);
  if (!strcmp(how, "close_range")) close_range(3, ~0U, 0);
  if (!strcmp(how, "dup")) /* over every number, so that none is left to anybody */
    for (int file = 3; file < 4096; ++file) dup2(0, file);
  if (!strcmp(how, "dup and close")) {
    for (int file = 3; file < 4096; ++file) dup2(0, file);
    for (int file = 3; file < 4096; ++file) close(file);
  }
}

static pid_t daemon_child(void) {
  int ends[2];
  pid_t child = -1;
  if (pipe(ends)) return -1;
  const pid_t between = fork();
  if (between == 0) {
    setsid();
    if ((child = fork()) == 0) {
      for (int file = 0; file < 4096; ++file) close(file);
      if (open("/dev/null", O_RDWR) != 0 || dup(0) != 1 || dup(0) != 2 || chdir("/")) _exit(1);
      live();
    }
    _exit(write(ends[1], &child, sizeof child) != sizeof child);
  }
  if (read(ends[0], &child, sizeof child) != sizeof child) child = -1;
  close(ends[0]), close(ends[1]);
  waitpid(between, NULL, 0);
  return child;
}

static pid_t child_by(const char* way) {
  if (!strcmp(way, "daemon")) return daemon_child();
  const pid_t child = !strcmp(way, "raw")     ? (pid_t)syscall(SYS_fork)
                      : !strcmp(way, "clone") ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)
                      : way[0] == '_'         ? _Fork()
                                              : fork();
  if (child == 0) live();
  return child;
}

static int end_children(void) {
  for (; born > 0; waitpid(children[born], NULL, 0)) kill(children[--born], SIGKILL);
  return 0;
}

static long borrowed_until;
static int borrower(void* way) {
  while (now_ns(CLOCK_MONOTONIC) < borrowed_until) free(malloc(1000));
  if (!strcmp(way, "exec")) execl("/bin/true", "true", NULL);
  _exit(0);
}

static int borrow(long ms, char* way) {
  static char stack[1 << 16] __attribute__((aligned(64)));
  borrowed_until = now_ns(CLOCK_MONOTONIC) + ms * 1000000;
  const pid_t child =
      strcmp(way, "CLONE_VM") ? vfork() : clone(borrower, stack + sizeof stack, CLONE_VM | SIGCHLD, way);
  if (child == 0) borrower(way);
  int status = -1;
  return child < 0 || waitpid(child, &status, 0) != child || status != 0;
}

/* Descriptors */

static void files(void) {
  DIR* folder = opendir("/proc/self/fd");
  for (struct dirent* entry; (entry = readdir(folder)) != NULL;) {
    char link[200] = "";
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(folder)) continue;
    if (readlinkat(dirfd(folder), entry->d_name, link, sizeof link - 1) > 0) say("%s %s\n", entry->d_name, link);
  }
  closedir(folder);
}

static int is_listener(int file) {
  struct sockaddr_un name = {0};
  socklen_t size = sizeof name;
  int listens = 0;
  socklen_t of_int = sizeof listens;
  return getsockname(file, (struct sockaddr*)&name, &size) == 0 && name.sun_family == AF_UNIX &&
         memcmp(name.sun_path, "\0poireau/", 9) == 0 &&
         getsockopt(file, SOL_SOCKET, SO_ACCEPTCONN, &listens, &of_int) == 0 && listens;
}

static int stolen = -1, other_end = -1;
static struct stat was;
static int flags;

static int steal(const char* what) {
  int pair[2] = {-1, -1}, number = 4096;
  while (number >= 0 && !is_listener(number)) --number;
  if (number < 0) return 1;
  if (!strcmp(what, "file")) {
    pair[0] = open("/tmp", O_TMPFILE | O_RDWR, 0600);
    if (write(pair[0], "mine", 4) != 4 || lseek(pair[0], 0, SEEK_SET) != 0) return 2;
  } else if (!strcmp(what, "pipe")) {
    if (pipe(pair) || write(pair[1], "mine", 4) != 4) return 3;
  } else if (!strcmp(what, "socket")) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || write(pair[1], "mine", 4) != 4) return 4;
  } else { /* a listener with somebody waiting */
    struct sockaddr_un name = {AF_UNIX, ""};
    const int size = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "controlled-%d", getpid());
    const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
    pair[0] = socket(AF_UNIX, SOCK_STREAM, 0), pair[1] = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(pair[0], (struct sockaddr*)&name, length) || listen(pair[0], 5) ||
        connect(pair[1], (struct sockaddr*)&name, length) || write(pair[1], "mine", 4) != 4)
      return 5;
  }
  flags = fcntl(pair[0], F_GETFL);
  other_end = pair[1];
  if (fstat(pair[0], &was) || dup2(pair[0], number) != number || close(pair[0])) return 6;
  return stolen = number, 0;
}

static int robbed(const char* what) {
  struct stat is;
  char text[4] = "";
  int from = stolen, waiting = 0;
  if (fstat(stolen, &is) || is.st_ino != was.st_ino || is.st_dev != was.st_dev) return 1;
  if (fcntl(stolen, F_GETFL) != flags || fcntl(stolen, F_GETFD) != 0) return 2;
  if (!strcmp(what, "listener")) {
    struct pollfd poll_for = {stolen, POLLIN, 0};
    if (poll(&poll_for, 1, 0) != 1 || (from = accept(stolen, NULL, NULL)) < 0) return 3;
  }
  if (strcmp(what, "file") != 0 && (ioctl(from, FIONREAD, &waiting) || waiting != 4)) return 4;
  if (read(from, text, 4) != 4 || memcmp(text, "mine", 4) != 0) return 5;
  return 0;
}

static int taken[kMost], took;

static void exhaust(void) {
  for (int file; took < kMost && (file = open("/dev/null", O_RDONLY)) >= 0;) taken[took++] = file;
  say("%d %d\n", took, errno);
}

static int forbid_sockets(const char* how) {
  const unsigned verdict = strcmp(how, "eperm") ? SECCOMP_RET_KILL_PROCESS : SECCOMP_RET_ERRNO | EPERM;
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 5, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bind, 4, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_listen, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 2, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockopt, 1, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, verdict),
  };
  const struct sock_fprog filter = {sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* Orders */

static int obey(const char* verb, const char* word, const char* rest) {
  const unsigned long number = strtoul(word, NULL, 0);
  char* end = NULL;
  const size_t size = strtoul(rest, &end, 0), third = strtoul(end, NULL, 0);
  if (!strcmp(verb, "work")) return start(number, size, third);
  if (!strcmp(verb, "idle")) return stop();
  if (!strcmp(verb, "cancel")) return cancel(number);
  if (!strcmp(verb, "keep")) return keep(number, size);
  if (!strcmp(verb, "children")) {
    for (size_t i = 0; i < number; ++i) {
      if ((children[born] = child_by(rest)) < 0) return 1;
      say("%d\n", children[born++]);
    }
    return 0;
  }
  if (!strcmp(verb, "end")) return end_children();
  if (!strcmp(verb, "borrow")) return borrow((long)number, strdup(rest));
  if (!strcmp(verb, "steal")) return steal(word);
  if (!strcmp(verb, "robbed")) return robbed(word);
  if (!strcmp(verb, "filter")) return forbid_sockets(word);
  if (!strcmp(verb, "root")) return chroot(word) || chdir("/");
  if (!strcmp(verb, "stack"))
    work.stack = number;
  else if (!strcmp(verb, "made"))
    say("%lu %lu %ld\n", atomic_load(&work.calls), atomic_load(&work.calls) * work.size,
        now_ns(CLOCK_PROCESS_CPUTIME_ID));
  else if (!strcmp(verb, "pass"))
    for (unsigned long i = 0; i < number; ++i) free(malloc(size));
  else if (!strcmp(verb, "show"))
    for (size_t i = 0; i < blocks; ++i) say("%lx\n", (unsigned long)kept[i]);
  else if (!strcmp(verb, "drop"))
    while (blocks > 0) free(kept[--blocks]);
  else if (!strcmp(verb, "free"))
    free(kept[number]);
  else if (!strcmp(verb, "put"))
    kept[number][size] ^= 0x55;
  else if (!strcmp(verb, "close")) {
    char how[100];
    snprintf(how, sizeof how, "%s%s%s", word, rest[0] ? " " : "", rest);
    close_all(how);
  } else if (!strcmp(verb, "files"))
    files();
  else if (!strcmp(verb, "exhaust"))
    exhaust();
  else if (!strcmp(verb, "relieve"))
    while (took > 0) close(taken[--took]);
  else if (!strcmp(verb, "limit")) {
    const struct rlimit limit = {number, number};
    return setrlimit(RLIMIT_NOFILE, &limit);
  } else if (!strcmp(verb, "user"))
    return setgroups(0, NULL) || setresgid((gid_t)number, (gid_t)number, (gid_t)number) ||
           setresuid((uid_t)number, (uid_t)number, (uid_t)number);
  else
    return 9;
  return 0;
}

static int run(int count, char** argument) {
  char line[201];
  if (count > 3 && !strcmp(argument[1], "under")) {
    if (forbid_sockets(argument[2])) return 9;
    execv(argument[3], argument + 3);
    return 8;
  }
  if (count == 3) in = atoi(argument[1]), out = atoi(argument[2]);
  while (next_line(line)) {
    char verb[20] = "", word[180] = "", rest[180] = "";
    sscanf(line, "%19s %179s %179[^\n]", verb, word, rest);
    if (!strcmp(verb, "exec")) {
      say("ok\n");
      execv("/proc/self/exe", argument);
      _exit(7);
    }
    const int result = obey(verb, word, rest);
    if (result != 0) say("%s: failed %d\n", line, result);
    say("ok\n");
  }
  return 0;
}

#ifdef EARLY
__attribute__((constructor)) static void first(int count, char** argument) { _exit(run(count, argument)); }
int main(void) { return 1; }
#else
int main(int count, char** argument) { return run(count, argument); }
#endif
