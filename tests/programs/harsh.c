/* harsh WHAT [NUMBER] [LIBRARY]: threads allocate all the time, and meanwhile what is hard on a library that stops
 * them. Each block is looked at before it is freed. What it prints depends on nothing else. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef LIBRARY
static void* kept[48];
static void end(void) {
  for (int i = 32; i < 48; ++i) free(kept[i]);
}
__attribute__((constructor)) static void load(void) {
  for (int i = 0; i < 48; ++i) kept[i] = malloc(300 + (size_t)i);
  atexit(end);
}
__attribute__((destructor)) static void unload(void) {
  for (int i = 0; i < 32; ++i) free(kept[i]);
}
void* make(int k) { return calloc(1, 10 + (size_t)k * 7); }
void drop(void* p) { free(p); }
#else
#define check(x)                                                      \
  do {                                                                \
    if (!(x)) {                                                       \
      printf("wrong at line %d: %s errno %d\n", __LINE__, #x, errno); \
      _exit(9);                                                       \
    }                                                                 \
  } while (0)
static uint32_t rnd(uint32_t* s) { return *s = *s * 1664525 + 1013904223; }
static volatile int over;
enum { K = 400 };
struct set {
  unsigned char* b[K];
  unsigned n[K];
};
static void churn(struct set* s, uint32_t* seed, int steps) {
  for (int i = 0; i < steps && !over; ++i) {
    unsigned w = (rnd(seed) >> 8) % K;
    if (s->b[w]) {
      check(s->b[w][0] == (unsigned char)w && s->b[w][s->n[w] - 1] == (unsigned char)w);
      free(s->b[w]);
    }
    unsigned size = 1 + ((rnd(seed) >> 16) & ((rnd(seed) >> 28) == 0 ? 0x3fff : 0x1ff));
    s->b[w] = malloc(size);
    s->n[w] = size;
    check(s->b[w]);
    memset(s->b[w], (int)w, size);
  }
}
static void* worker(void* arg) {
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = (uint32_t)(uintptr_t)arg;
  while (!over) churn(s, &seed, 1000);
  for (int i = 0; i < K; ++i) free(s->b[i]);
  free(s);
  return NULL;
}
static void start(pthread_t* t, int n) {
  for (int i = 0; i < n; ++i) check(pthread_create(&t[i], NULL, worker, (void*)(uintptr_t)(i + 1)) == 0);
}
static void stop(pthread_t* t, int n) {
  over = 1;
  for (int i = 0; i < n; ++i) pthread_join(t[i], NULL);
  over = 0;
}

static void fork_storm(int n) {
  pthread_t t[4];
  start(t, 4);
  for (int i = 0; i < n; ++i) {
    pid_t kids[4];
    for (int k = 0; k < 4; ++k) {
      kids[k] = fork();
      check(kids[k] >= 0);
      if (kids[k] == 0) {
        static struct set s;
        uint32_t seed = (uint32_t)i;
        churn(&s, &seed, 3000);
        if (i % 4 == 0) {
          pid_t g = fork();
          if (g == 0) {
            churn(&s, &seed, 1000);
            _exit(0);
          }
          int st;
          check(waitpid(g, &st, 0) == g && st == 0);
        }
        if (i % 3 == 0) exit(0);
        _exit(0);
      }
    }
    for (int k = 0; k < 4; ++k) {
      int st;
      check(waitpid(kids[k], &st, 0) == kids[k]);
      if (st != 0) printf("child %x\n", st), exit(1);
    }
  }
  stop(t, 4);
}
static struct set hs;
static volatile long handled;
static int inside;
static void on_alarm(int s) {
  (void)s;
  if (__atomic_exchange_n(&inside, 1, __ATOMIC_ACQUIRE)) return;  // another thread is
  uint32_t seed = (uint32_t)handled;
  int e = errno;
  churn(&hs, &seed, 20);
  ++handled;
  errno = e;
  __atomic_store_n(&inside, 0, __ATOMIC_RELEASE);
}
static void signals(int seconds) {
  struct sigaction a = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  sigaction(SIGALRM, &a, NULL);
  struct itimerval it = {{0, 1000}, {0, 1000}};
  setitimer(ITIMER_REAL, &it, NULL);
  pthread_t t[2];
  start(t, 2);
  time_t end = time(NULL) + seconds;
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 77;
  while (time(NULL) < end) churn(s, &seed, 1000);
  stop(t, 2);
  memset(&it, 0, sizeof it);
  setitimer(ITIMER_REAL, &it, NULL);
  check(handled > 50 * seconds);
}
static volatile int is_child;
static void fork_here(int s) {
  (void)s;
  if (is_child) return;
  int e = errno, st;
  pid_t c = fork();
  check(c >= 0);
  is_child = c == 0;
  if (c != 0) {
    check(waitpid(c, &st, 0) == c);
    if (st != 0) printf("child %x\n", st), _exit(1);
    ++handled;
  }
  errno = e;
}
static void children(int n) { /* of handlers, that go on with what these interrupted */
  sigaction(SIGVTALRM, &(struct sigaction){.sa_handler = fork_here, .sa_flags = SA_RESTART}, NULL);
  struct itimerval it = {{0, 500}, {0, 500}};
  setitimer(ITIMER_VIRTUAL, &it, NULL);
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 5;
  for (int left = 3; handled < n && left > 0; left -= is_child) churn(s, &seed, 1000);
  if (is_child) _exit(0);
  memset(&it, 0, sizeof it);
  setitimer(ITIMER_VIRTUAL, &it, NULL);
}

static void on_own_stack(int s) {
  volatile char mine[2000];
  memset((char*)mine, 7, sizeof mine);
  fork_here(s);
  for (unsigned i = 0; i < sizeof mine; ++i) check(mine[i] == 7);
}
static void stacks(int n) { /* of signals, in blocks: a child forked there goes on with its own */
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_own_stack, .sa_flags = SA_ONSTACK}, NULL);
  pthread_t t;
  start(&t, 1);
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 5;
  for (int i = 0; i < n; ++i) {
    size_t size = 24000 + (size_t)(i % 6) * 7000;
    stack_t own = {.ss_sp = malloc(size), .ss_size = size}, none = {.ss_flags = SS_DISABLE};
    check(sigaltstack(&own, NULL) == 0);
    raise(SIGUSR1);
    check(sigaltstack(&none, NULL) == 0);
    free(own.ss_sp);
    churn(s, &seed, 100);
    if (is_child) _exit(0);
  }
  stop(&t, 1);
}

static void* cancelled(void* arg) {
  (void)arg;
  int old;
  pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &old);
  void* b[64];
  for (;;) {
    for (int i = 0; i < 64; ++i) b[i] = malloc((size_t)i * 20 + 1);
    for (int i = 0; i < 64; ++i) free(b[i]);
    pthread_testcancel();
  }
}
static void cancel(int n) {
  pthread_t w[2];
  start(w, 2);
  for (int i = 0; i < n; ++i) {
    pthread_t t[4];
    for (int k = 0; k < 4; ++k) check(pthread_create(&t[k], NULL, cancelled, NULL) == 0);
    usleep((unsigned)(i % 7) * 100);
    for (int k = 0; k < 4; ++k) pthread_cancel(t[k]);
    for (int k = 0; k < 4; ++k) {
      void* r;
      pthread_join(t[k], &r);
      check(r == PTHREAD_CANCELED);
    }
  }
  stop(w, 2);
}
static void* brief(void* arg) {
  static __thread struct set* s;
  s = calloc(1, sizeof *s);
  uint32_t seed = (uint32_t)(uintptr_t)arg;
  churn(s, &seed, 300);
  if ((uintptr_t)arg % 3 == 0) {
    for (int i = 0; i < K; ++i) free(s->b[i]);
    free(s);
  } else if ((uintptr_t)arg % 3 == 1)
    pthread_exit(NULL);
  return NULL;
}
static void threads(int n) {
  pthread_t* t = malloc((size_t)n * sizeof *t);
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 64 << 10);
  for (int i = 0; i < n; ++i) check(pthread_create(&t[i], &a, brief, (void*)(uintptr_t)i) == 0);
  for (int i = 0; i < n; ++i) pthread_join(t[i], NULL);
  free(t);
}
static sem_t sem;
static void* parked(void* arg) {
  char* b = malloc(100 + (uintptr_t)arg % 500);
  b[0] = 1;
  sem_wait(&sem);
  free(b);
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 5;
  churn(s, &seed, 50);
  free(s);
  return NULL;
}
static void many(int n) { /* all alive at once */
  sem_init(&sem, 0, 0);
  pthread_t* t = malloc((size_t)n * sizeof *t);
  pthread_attr_t a;
  pthread_attr_init(&a);
  pthread_attr_setstacksize(&a, 64 << 10);
  for (int i = 0; i < n; ++i) check(pthread_create(&t[i], &a, parked, (void*)(uintptr_t)i) == 0);
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 78;
  churn(s, &seed, 400000);
  pid_t c = fork();
  if (c == 0) {
    churn(s, &seed, 20000);
    _exit(0);
  }
  int st;
  check(waitpid(c, &st, 0) == c && st == 0);
  churn(s, &seed, 100000);
  for (int i = 0; i < n; ++i) sem_post(&sem);
  for (int i = 0; i < n; ++i) pthread_join(t[i], NULL);
}
extern char** environ;
static char stack2[1 << 20];
static int cloned(void* arg) {
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = (uint32_t)(uintptr_t)arg;
  churn(s, &seed, 2000);
  for (int i = 0; i < K; ++i) free(s->b[i]);
  free(s);
  return 0;
}
static void spawns(int n) {
  pthread_t t[3];
  start(t, 3);
  char* argv[] = {"true", NULL};
  for (int i = 0; i < n; ++i) {
    int st;
    pid_t c;
    check(posix_spawn(&c, "/bin/true", NULL, NULL, argv, environ) == 0);
    check(waitpid(c, &st, 0) == c && st == 0);
    c = vfork();
    if (c == 0) {
      execv("/bin/true", argv);
      _exit(1);
    }
    check(waitpid(c, &st, 0) == c && st == 0);
    c = vfork();
    if (c == 0) {
      execv("/nowhere", argv);
      _exit(3);
    }
    check(waitpid(c, &st, 0) == c && WEXITSTATUS(st) == 3);
    c = fork();
    if (c == 0) {
      execv("/bin/true", argv);
      _exit(1);
    }
    check(waitpid(c, &st, 0) == c && st == 0);
    check(system("exit 5") == 5 << 8);
    FILE* p = popen("echo hi", "r");
    char line[10];
    check(fgets(line, 10, p) && strcmp(line, "hi\n") == 0);
    check(pclose(p) == 0);
  }
  stop(t, 3);
}
static void clones(int n) {
  for (int i = 0; i < n; ++i) {
    int st;
    pid_t c = clone(cloned, stack2 + sizeof stack2, CLONE_VM | SIGCHLD, (void*)(uintptr_t)(i + 1));
    check(c > 0);
    check(waitpid(c, &st, 0) == c);
    if (st != 0) printf("status %x\n", st), exit(1);
    c = clone(cloned, stack2 + sizeof stack2, CLONE_VM | CLONE_VFORK | SIGCHLD, (void*)(uintptr_t)(i + 1));
    check(c > 0);
    check(waitpid(c, &st, 0) == c && st == 0);
    c = clone(cloned, stack2 + sizeof stack2, SIGCHLD, (void*)(uintptr_t)(i + 1));
    check(c > 0);
    check(waitpid(c, &st, 0) == c);
    if (st != 0) printf("apart status %x\n", st), exit(1);
    struct set* s = calloc(1, sizeof *s);
    uint32_t seed = 3;
    churn(s, &seed, 5000);
    for (int k = 0; k < K; ++k) free(s->b[k]);
    free(s);
  }
}
static void* exec_soon(void* arg) {
  usleep(30000);
  char* argv[] = {"/proc/self/exe", "hello", NULL};
  execv("/proc/self/exe", argv);
  return arg;
}
static void exec_while(void) {
  pthread_t t[3];
  start(t, 3);
  pthread_t e;
  pthread_create(&e, NULL, exec_soon, NULL);
  pthread_join(e, NULL);
}

static int deep(int n) {
  volatile char room[4096];
  room[0] = (char)n;
  free(malloc(100));
  return n == 0 ? 0 : deep(n + 1) + room[0];
}
static sigjmp_buf back;
static void on_segv(int s) {
  (void)s;
  siglongjmp(back, 1);
}
static void overflow(int n) {
  stack_t st = {.ss_sp = malloc(SIGSTKSZ), .ss_size = MINSIGSTKSZ};
  check(sigaltstack(&st, NULL) == 0);
  struct sigaction a = {.sa_handler = on_segv, .sa_flags = SA_ONSTACK};
  sigaction(SIGSEGV, &a, NULL);
  for (int i = 0; i < n; ++i)
    if (sigsetjmp(back, 1) == 0) deep(1);
  pthread_t t[2];
  start(t, 2);
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 78;
  churn(s, &seed, 300000);
  stop(t, 2);
  struct sigaction d = {.sa_handler = SIG_DFL};
  sigaction(SIGSEGV, &d, NULL);
  pid_t c = fork();
  if (c == 0) {
    deep(1);
  }
  int st2;
  check(waitpid(c, &st2, 0) == c && WIFSIGNALED(st2) && WTERMSIG(st2) == SIGSEGV);
}
static void maps(int n) { /* nearly all mappings are the program's own */
  char* at = mmap(NULL, (size_t)n * 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  check(at != MAP_FAILED);
  int made = 0;
  for (; made < n; ++made)
    if (mprotect(at + (size_t)made * 8192, 4096, PROT_READ) != 0) break;
  struct set* s = calloc(1, sizeof *s);
  uint32_t seed = 78;
  churn(s, &seed, 200000);
  pthread_t t[2];
  start(t, 2);
  churn(s, &seed, 100000);
  pid_t c = fork();
  if (c == 0) {
    churn(s, &seed, 10000);
    _exit(0);
  }
  int st;
  check(waitpid(c, &st, 0) == c && st == 0);
  stop(t, 2);
  void* m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(m != MAP_FAILED && made == n);
}
static void dl(const char* lib, int n) {
  pthread_t t[2];
  start(t, 2);
  for (int i = 0; i < n; ++i) {
    void* h = dlopen(lib, RTLD_NOW);
    if (!h) puts(dlerror()), exit(1);
    void* (*make)(int) = (void* (*)(int))dlsym(h, "make");
    void (*drop)(void*) = (void (*)(void*))dlsym(h, "drop");
    void* b[100];
    for (int k = 0; k < 100; ++k) b[k] = make(k);
    for (int k = 0; k < 50; ++k) drop(b[k]);
    dlclose(h);
    for (int k = 50; k < 100; ++k) free(b[k]);
  }
  stop(t, 2);
}
int main(int c, char** v) {
  int n = c > 2 ? atoi(v[2]) : 0;
  const char* w = v[1];
  if (!strcmp(w, "hello"))
    ;
  else if (!strcmp(w, "forks"))
    fork_storm(n);
  else if (!strcmp(w, "signals"))
    signals(n);
  else if (!strcmp(w, "children"))
    children(n);
  else if (!strcmp(w, "stacks"))
    stacks(n);
  else if (!strcmp(w, "cancel"))
    cancel(n);
  else if (!strcmp(w, "threads"))
    threads(n);
  else if (!strcmp(w, "many"))
    many(n);
  else if (!strcmp(w, "spawns"))
    spawns(n);
  else if (!strcmp(w, "clones"))
    clones(n);
  else if (!strcmp(w, "exec"))
    exec_while();
  else if (!strcmp(w, "overflow"))
    overflow(n);
  else if (!strcmp(w, "maps"))
    maps(n);
  else if (!strcmp(w, "dl"))
    dl(v[3], n);
  else if (!strcmp(w, "forever")) {
    pthread_t t[4];
    start(t, 4);
    for (;;) pause();
  } else
    return 7;
  printf("%s done\n", w);
  return 0;
}
#endif
