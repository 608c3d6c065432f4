/* unwound: frees blocks twice, in a handler for signals that come while it allocates others. */
#include <signal.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define ROUNDS 200
static void* blocks[ROUNDS];
static void* volatile kept;
static volatile sig_atomic_t rounds;

__attribute__((noinline)) static void release_twice(void* block) {
  free(block);
  free(block);
}

static void on_alarm(int number) {
  (void)number;
  if (rounds < ROUNDS) release_twice(blocks[rounds++]);
}

int main(void) {
  struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
  struct itimerval often = {{0, 1000}, {0, 1000}};
  for (int i = 0; i < ROUNDS; ++i) blocks[i] = malloc(100);
  sigaction(SIGALRM, &action, NULL);
  setitimer(ITIMER_REAL, &often, NULL);
  while (rounds < ROUNDS) free(kept = malloc(64));
  return 0;
}
