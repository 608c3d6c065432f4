/* storm HOW COUNT: a timer's handler allocates in the middle of the main program's allocations, over bump.c; "jump":
 * and leaves by siglongjmp every other time. */
#include <setjmp.h>
#include <signal.h>
#include <sys/time.h>

#include "stats.h"

static volatile sig_atomic_t handled, jumping, may_jump;
static volatile unsigned long by_handler;
static sigjmp_buf place;

static void handle(int signal) {
  ++handled;
  for (int i = 0; i < 5 && signal; ++i) free(malloc(50)), ++by_handler;
  if (jumping && may_jump && handled % 2) siglongjmp(place, 1);
}

int main(int count, char** argument) {
  jumping = argument[1][0] == 'j';
  const unsigned long wanted = count > 2 ? strtoul(argument[2], NULL, 10) : 0;
  const struct itimerval often = {{0, 97}, {0, 97}}, never = {{0, 0}, {0, 0}};
  struct sigaction action = {.sa_handler = handle};
  sigaction(SIGALRM, &action, NULL);
  static volatile unsigned long by_main, jumps;
  const struct poireau_stats before = stats_now();
  setitimer(ITIMER_REAL, &often, NULL);
  if (sigsetjmp(place, 1)) ++jumps;
  may_jump = 1;
  while (by_main < wanted || handled < 200) {
    free(malloc(50));
    ++by_main;
  }
  may_jump = 0;
  setitimer(ITIMER_REAL, &never, NULL);
  const struct poireau_stats after = stats_now();
  printf("%lu requests, %lu jumps, %lu dropped, %lu samples, %lu bytes sampled, %lu counted\n", by_main + by_handler,
         jumps, (long)(after.dropped - before.dropped), (long)(after.samples - before.samples),
         (long)(after.sampled_bytes - before.sampled_bytes), (long)(after.counted_bytes - before.counted_bytes));
  return 0;
}
