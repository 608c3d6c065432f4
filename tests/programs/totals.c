/* COUNT: so many small requests among failing huge ones: what was counted up to the last sample must be what was
 * granted. */
#include <stdint.h>

#include "stats.h"

int main(int count, char** argument) {
  if (count != 2) return 3;
  uint64_t granted = 0, at_sample = 0;
  struct poireau_stats start = stats_now(), last = start;
  while (last.samples == start.samples) { /* up to a sample, so that nothing is left over from before */
    free(malloc(64));
    last = stats_now();
  }
  start = last;
  for (int i = 0; i < atoi(argument[1]); ++i) {
    if (i % 3 == 0 && malloc(SIZE_MAX / 2) != NULL) return 2;
    free(malloc(64));
    granted += 64;
    const struct poireau_stats now = stats_now();
    if (now.samples != last.samples) at_sample = granted;
    last = now;
  }
  if (last.counted_bytes - start.counted_bytes == at_sample) return 0;
  printf("granted %ld bytes up to the last sample, counted %ld\n", (long)at_sample,
         (long)(last.counted_bytes - start.counted_bytes));
  return 1;
}
