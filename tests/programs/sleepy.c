/* sleepy SECONDS: asks for 40 MB a second, and sleeps nearly all the time. Prints, a line a second, samples and the
 * period. */
#include <time.h>

#include "stats.h"

static void* volatile block;

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const long seconds = atol(argv[1]);
  uint64_t before = stats_now().samples;
  for (long i = 0; i < seconds; ++i) {
    for (int tick = 0; tick < 100; ++tick) {
      for (int request = 0; request < 20; ++request) {
        block = malloc(20000);
        free(block);
      }
      nanosleep(&(struct timespec){0, 10 * 1000 * 1000}, NULL);
    }
    const struct poireau_stats now = stats_now();
    printf("%ld %ld\n", (long)(now.samples - before), (long)now.sample_period);
    before = now.samples;
  }
  return 0;
}
