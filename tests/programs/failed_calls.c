/* Requests that fail count for nothing, and the ones that follow are counted as if the failed ones had not been. */
#include <malloc.h>
#include <stdint.h>

#include "stats.h"

static void* fail(int which) {
  void* out;
  switch (which) {
    case 0:
      return malloc(SIZE_MAX / 2);
    case 1:
      return calloc(SIZE_MAX / 2, 4);
    case 2:
      return realloc(NULL, SIZE_MAX - 5000);
    case 3:
      return reallocarray(NULL, SIZE_MAX / 2, 4);
    case 4:
      return memalign(64, SIZE_MAX / 2);
    case 5:
      return aligned_alloc(64, SIZE_MAX / 2);
    case 6:
      return posix_memalign(&out, 64, SIZE_MAX / 2) ? NULL : out;
    case 7:
      return posix_memalign(&out, 3, 100) ? NULL : out;
    default:
      return valloc(SIZE_MAX / 2);
  }
}

int main(void) {
  int wrong = 0;
  for (int which = 0; which < 9; ++which) {
    const struct poireau_stats before = stats_now();
    if (fail(which) != NULL) wrong += printf("%d did not fail\n", which);
    const struct poireau_stats between = stats_now();
    free(malloc(1000));
    const struct poireau_stats after = stats_now();
    if (between.samples != before.samples || between.counted_bytes != before.counted_bytes ||
        after.samples - before.samples != 1 || after.counted_bytes - before.counted_bytes != 1000)
      wrong += printf("case %d: the failed call counted %ld, then malloc(1000) counted %ld bytes in %ld samples\n",
                      which, (long)(between.counted_bytes - before.counted_bytes),
                      (long)(after.counted_bytes - between.counted_bytes), (long)(after.samples - before.samples));
  }
  return wrong != 0;
}
