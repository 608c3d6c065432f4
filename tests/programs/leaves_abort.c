/* leaves_abort: writes behind a block of its own, then allocates for a minute; leaves a SIGABRT by siglongjmp. */
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static sigjmp_buf place;

static void leave(int signal) {
  (void)signal;
  if (write(1, "left\n", 5) == 5) siglongjmp(place, 1);
}

int main(void) {
  volatile char* const block = malloc(100);
  block[100] ^= 1;
  signal(SIGABRT, leave);
  sigsetjmp(place, 1);
  for (const time_t end = time(NULL) + 60; time(NULL) < end; usleep(1000))
    for (int i = 0; i < 10; ++i) free(malloc(1000));
  return 0;
}
