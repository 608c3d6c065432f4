// libpoireau-hold.so: has a program wait where it ends, before its exit handlers run, with all of its threads alive,
// until who runs it has looked at what nothing points at any more. `poireau check` preloads it behind the library and
// says in POIREAUPY_HOLD, the name of an abstract unix socket, where it listens; nobody there, nobody is held.
//
// Where it ends: main returns, or somebody calls exit(). What ends otherwise (_exit, a signal, exec, an exit() of
// libc's own, as in err()) is not held.
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PUBLIC __attribute__((visibility("default")))

typedef int Main(int, char**, char**);
typedef int Start(Main*, int, char**, void (*)(void), void (*)(void), void (*)(void), void*);

static Main* program;
static _Atomic pid_t self;  // a vfork child has another pid, and its parent's memory: it isn't held
static atomic_flag held = ATOMIC_FLAG_INIT;

static void in_child(void) {
  self = getpid();
  atomic_flag_clear(&held);
}

static void hold(void) {
  const char* const name = getenv("POIREAUPY_HOLD");
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  const size_t length = name == NULL ? 0 : strlen(name);
  if (length == 0 || length >= sizeof address.sun_path || self != getpid() || atomic_flag_test_and_set(&held)) return;
  const int before = errno;
  memcpy(address.sun_path + 1, name, length);  // what begins with a NUL is no file
  const int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection >= 0) {
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    char nothing;
    if (connect(connection, (const struct sockaddr*)&address, size) == 0)
      while (read(connection, &nothing, 1) < 0 && errno == EINTR) continue;
    close(connection);
  }
  errno = before;
}

static int run_and_hold(int count, char** arguments, char** environment) {
  const int status = program(count, arguments, environment);
  hold();
  return status;
}

PUBLIC int __libc_start_main(Main* main, int count, char** arguments, void (*first)(void), void (*last)(void),
                             void (*loader)(void), void* stack) {
  Start* start;
  *(void**)&start = dlsym(RTLD_NEXT, "__libc_start_main");
  program = main;
  self = getpid();
  pthread_atfork(NULL, NULL, in_child);
  return start(run_and_hold, count, arguments, first, last, loader, stack);
}

PUBLIC _Noreturn void exit(int status) {
  void (*next)(int);
  *(void**)&next = dlsym(RTLD_NEXT, "exit");
  hold();
  next(status);
  __builtin_unreachable();
}
