/* fills BLOCKS STEP LAST: blocks that grow by STEP up to LAST bytes, and are resized only when malloc_usable_size says
 * that they are full. Prints how many bytes it has, as it last asked for them, and how many resizes that took. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int count, char** argument) {
  if (count != 4) return 2;
  const size_t blocks = strtoul(argument[1], NULL, 0), step = strtoul(argument[2], NULL, 0),
               last = strtoul(argument[3], NULL, 0);
  size_t alive = 0, resizes = 0;
  malloc_usable_size(NULL);
  for (size_t i = 0; i < blocks; ++i) {
    char* block = NULL;
    size_t have = 0, asked_for = 0;
    for (size_t size = step; size < last; size += step) {
      if (size > have) {
        block = realloc(block, asked_for = size);
        const size_t before = have;
        have = malloc_usable_size(block);
        ++resizes;
        for (size_t at = 0; at < before; ++at)
          if (block[at] != (char)i) return 3;
        memset(block + before, (int)i, have - before);
      }
    }
    alive += asked_for;
  }
  printf("%zu %zu\n", alive, resizes);
  fflush(stdout);
  _Exit(0); /* what is alive stays */
}
