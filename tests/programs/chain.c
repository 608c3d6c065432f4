#include "counting.h"
#pragma weak interposed_mallocs
int interposed_mallocs(void);

int main(void) {
  free(malloc(1));
  const int first = interposed_mallocs ? interposed_mallocs() : 0;
  for (size_t size = 1; size < 100000; size *= 3)
    if (stats_now().sample_period <= 1)
      COUNTED("malloc", size, free(malloc(size)));
    else
      free(malloc(size)), ++calls;
  printf("%d seen by the interposer, %d of %d wrong\n", (interposed_mallocs ? interposed_mallocs() : 0) - first, wrong,
         calls);
  return 0;
}
