/* Every function with the sizes that nobody should ask for: the answer and errno. */
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static const char* name;
static size_t one, two;
static void show(void* got) {
  const int error = errno;
  if (got == NULL || got == (void*)8)
    printf("%s(%#zx, %#zx): %s, errno %d\n", name, one, two, got ? "untouched" : "null", error);
  else
    printf("%s(%#zx, %#zx): memory, errno %d\n", name, one, two, error);
  if (got != (void*)8) free(got);
}
#define SHOW(what, call) (name = what, errno = 77, show(call))

/* Arguments: no-pvalloc (jemalloc has none, and libc's is no match for its free), modest (tcmalloc crashes on absurd
 * alignments). */
int main(int count, char** argument) {
  const int modest = count > 1 && argument[1][0] == 'm', pvalloc_too = count == 1 || modest;
  free(malloc(1)); /* some allocators start with the first, and leave their errno */
  const size_t sizes[] = {0,
                          1,
                          24,
                          1000,
                          (size_t)1 << 40,
                          (size_t)1 << 47,
                          PTRDIFF_MAX - 4096,
                          PTRDIFF_MAX,
                          (size_t)PTRDIFF_MAX + 1,
                          SIZE_MAX - 4096,
                          SIZE_MAX - 15,
                          SIZE_MAX};
  const size_t counts[] = {0, 1, 3, 1000, (size_t)1 << 32, ((size_t)1 << 32) + 1, (size_t)1 << 63, SIZE_MAX};
  const size_t alignments[] = {0, 1, 3, 8, 16, 24, 64, 4096, (size_t)1 << 40, (size_t)1 << 63, SIZE_MAX};
  setvbuf(stdout, NULL, _IONBF, 0);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    const size_t size = sizes[i];
    if (size == (size_t)1 << 40 || size == (size_t)1 << 47) continue; /* up to the machine, not to us */
    one = size, two = 0;
    SHOW("malloc", malloc(size));
    SHOW("realloc NULL", realloc(NULL, size));
    for (size_t old = 0; old < 40000; old += 13000) {
      void* block = malloc(two = old);
      name = "realloc";
      errno = 77;
      void* got = realloc(block, size);
      if (got == NULL && size != 0) free(block);
      show(got);
      block = malloc(old);
      name = "reallocarray";
      errno = 77;
      got = reallocarray(block, 1, size);
      if (got == NULL && size != 0) free(block);
      show(got);
    }
    two = 0;
    SHOW("valloc", valloc(size));
    if (pvalloc_too) SHOW("pvalloc", pvalloc(size));
    for (size_t j = 0; j < sizeof alignments / sizeof *alignments; ++j) {
      two = alignments[j];
      if (modest && two > 4096) continue;
      SHOW("memalign", memalign(two, size));
      SHOW("aligned_alloc", aligned_alloc(two, size));
      void* out = (void*)8;
      errno = 77;
      const int error = posix_memalign(&out, two, size);
      name = error ? error == EINVAL   ? "posix_memalign EINVAL"
                     : error == ENOMEM ? "posix_memalign ENOMEM"
                                       : "posix_memalign ?"
                   : "posix_memalign";
      show(out);
    }
  }
  for (size_t i = 0; i < sizeof counts / sizeof *counts; ++i)
    for (size_t j = 0; j < sizeof counts / sizeof *counts; ++j) {
      one = counts[i], two = counts[j];
      if (one * two > 10000000 && one * two < PTRDIFF_MAX && one < PTRDIFF_MAX / (two + 1)) continue;
      SHOW("calloc", calloc(one, two));
      SHOW("reallocarray NULL", reallocarray(NULL, one, two));
    }
  errno = 77;
  free(NULL);
  printf("free(NULL): errno %d, usable %zu\n", errno, malloc_usable_size(NULL));
  free(malloc(100)), free(malloc(1000000));
  printf("free: errno %d\n", errno);
  return 0;
}
