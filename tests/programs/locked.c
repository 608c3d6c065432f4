/* Preloaded: keeps the program, and the children it forks, in memory with all that they will ever map. */
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

static void lock(void) {
  static const char failed[] = "mlockall fails\n";
  if (mlockall(MCL_CURRENT | MCL_FUTURE) == 0) return;
  (void)!write(STDERR_FILENO, failed, sizeof failed - 1);
  _exit(99);
}

__attribute__((constructor)) static void begin(void) {
  lock();
  pthread_atfork(NULL, NULL, lock);
}
