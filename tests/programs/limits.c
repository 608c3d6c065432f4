/* limits WHAT: allocates where something is scarce or strict. SHARE of the work, of the same sizes, is 1 in so many. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "stats.h"

#ifndef SHARE
#define SHARE 1
#endif

static void* work(void* unused) {
  for (size_t i = 0; i < 20000; i += SHARE) {
    void* p = realloc(calloc(1, i % 3000), i % 5000 + 1);
    if (p == NULL) abort();
    memset(p, 1, i % 5000 + 1);
    free(p);
    free(aligned_alloc(64, 100));
  }
  return unused;
}

static void limit(int what, rlim_t to) {
  struct rlimit now;
  getrlimit(what, &now);
  now.rlim_cur = to;
  setrlimit(what, &now);
}

static volatile int handled;
static void handle(int signal) {
  free(malloc(100));
  handled = signal;
}

static void memory(void) {
  static void* blocks[100000];
  int got = 0;
  limit(RLIMIT_AS, 100 << 20);
  while (got < 100000 && (blocks[got] = malloc(10000)) != NULL) ++got;
  if (got < 1000 || got == 100000 || errno != ENOMEM || calloc(1, 5 << 20) || errno != ENOMEM) abort();
  for (int i = 0; i < 1000; ++i) free(malloc(100000000));
  while (got-- > 0) free(blocks[got]);
  work(NULL);
}

static void small_threads(void) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN);
  for (int i = 0; i < 20; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, &attributes, work, NULL)) abort();
    pthread_join(thread, NULL);
  }
}

static void signal_stack(void) {
  const size_t size = getauxval(AT_MINSIGSTKSZ) + 2048; /* the frame, and the 2 KiB that are ours */
  char* page = mmap(NULL, 1 << 16, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const size_t rounded = (size + 4095) & -4096ul;
  mprotect(page + 8192, rounded, PROT_READ | PROT_WRITE);
  const stack_t stack = {.ss_sp = page + 8192 + rounded - size, .ss_size = size};
  struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
  if (sigaltstack(&stack, NULL) || sigaction(SIGUSR1, &action, NULL)) abort();
  for (int i = 0; i < 1000; ++i) raise(SIGUSR1);
}

static void floating_point(void) {
  feclearexcept(FE_ALL_EXCEPT);
  feenableexcept(FE_ALL_EXCEPT);
  fesetround(FE_UPWARD);
  fenv_t before, after;
  fegetenv(&before);
  work(NULL);
  fegetenv(&after);
  if (fetestexcept(FE_ALL_EXCEPT) || fegetround() != FE_UPWARD || fegetexcept() != FE_ALL_EXCEPT) abort();
  if (memcmp(&before, &after, sizeof before)) abort();
}

static void error_number(void) {
  free(malloc(1)); /* some allocators start with the first, and leave their errno */
  for (int i = 0; i < 100000; i += SHARE) {
    errno = i % 200;
    void* p = malloc((size_t)i);
    p = realloc(p, (size_t)i + 100);
    free(calloc(2, (size_t)i));
    free(p);
    if (errno != i % 200) abort();
  }
}

static void* endless(void* unused) {
  pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  for (;;) free(malloc(50)), free(malloc(500));
  return unused;
}
static void cancellation(void) {
  for (int i = 0; i < 300; ++i) {
    pthread_t thread;
    void* result;
    if (pthread_create(&thread, NULL, endless, NULL)) abort();
    if (i % 2) usleep(100);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    if (result != PTHREAD_CANCELED) abort();
    free(malloc(100));
  }
}

int main(int count, char** argument) {
  const char* what = count > 1 ? argument[1] : "nothing";
  if (!strcmp(what, "memory")) memory();
  if (!strcmp(what, "descriptors")) limit(RLIMIT_NOFILE, 0), work(NULL);
  if (!strcmp(what, "stack")) limit(RLIMIT_STACK, 1 << 16), work(NULL);
  if (!strcmp(what, "threads")) small_threads();
  if (!strcmp(what, "mlockall")) mlockall(MCL_CURRENT | MCL_FUTURE), work(NULL);
  if (!strcmp(what, "mlocked")) limit(RLIMIT_MEMLOCK, 0), work(NULL);
  if (!strcmp(what, "file size")) limit(RLIMIT_FSIZE, 0), work(NULL);
  if (!strcmp(what, "signal stack")) signal_stack();
  if (!strcmp(what, "floating point")) floating_point();
  if (!strcmp(what, "errno")) error_number();
  if (!strcmp(what, "cancellation")) cancellation();
  if (!strcmp(what, "nothing")) work(NULL);
  if (!strcmp(what, "file")) { /* a file of the program's own, that may be what the library takes for standard error */
    const int file = open(argument[2], O_WRONLY | O_CREAT | O_TRUNC, 0600);
    while (file < 2 && dup(file) < 2) {
    }
    work(NULL);
    return write(file, "mine\n", 5) != 5;
  }
  return 0;
}
