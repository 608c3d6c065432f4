/* promises: says what the functions of the malloc family do in their corners. Nothing of it depends on the allocator.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(const char* what, long is) { printf("%s: %ld\n", what, is); }

static int aligned(const void* ptr, size_t to) { return ptr != NULL && (uintptr_t)ptr % to == 0; }

static int all(const unsigned char* bytes, int value, size_t size) {
  for (size_t i = 0; i < size; ++i)
    if (bytes[i] != value) return 0;
  return 1;
}

static void sizes(void) {
  void *a = malloc(0), *b = malloc(0);
  say("blocks of nothing are two", a != NULL && b != NULL && a != b);
  free(a), free(b);
  say("resized to nothing", realloc(malloc(10), 0) == NULL);
  errno = 0;
  say("too many", calloc(SIZE_MAX / 2, 3) == NULL), say("errno", errno);
  errno = 0;
  say("too large", malloc(SIZE_MAX - 5000) == NULL), say("errno", errno);
  errno = 0;
  say("half of all", malloc((size_t)PTRDIFF_MAX + 1) == NULL), say("errno", errno);
  char* kept = strcpy(malloc(30), "kept");
  errno = 0;
  say("resized too large", realloc(kept, SIZE_MAX - 5000) == NULL), say("errno", errno), puts(kept);
  errno = 0;
  say("array too large", reallocarray(kept, SIZE_MAX / 2, 3) == NULL), say("errno", errno), puts(kept);
  free(kept);
}

static void alignments(void) {
  for (size_t to = 8; to <= 1 << 20; to *= 2) {
    void* got = (void*)1;
    errno = 77;
    say("posix_memalign", posix_memalign(&got, to, to + 3) == 0 && aligned(got, to) && errno == 77);
    free(got);
    void* other = memalign(to, 100);
    say("memalign", aligned(other, to)), free(other);
    other = aligned_alloc(to, 2 * to);
    say("aligned_alloc", aligned(other, to)), free(other);
  }
  void* got = (void*)1;
  errno = 77;
  say("of 3", posix_memalign(&got, 3, 10)), say("of 4", posix_memalign(&got, 4, 10));
  say("of 24", posix_memalign(&got, 24, 10)), say("of 0", posix_memalign(&got, 0, 10));
  say("too large", posix_memalign(&got, 64, SIZE_MAX - 5000)), say("untouched", got == (void*)1 && errno == 77);
  got = valloc(10), say("valloc", aligned(got, 4096)), free(got);
#ifdef PVALLOC /* not every allocator has it, and then it is glibc's */
  got = pvalloc(10), say("pvalloc", aligned(got, 4096) && malloc_usable_size(got) >= 4096), free(got);
#endif
}

static void contents(void) {
  for (size_t size = 1; size < 3000000; size = size * 5 / 3 + 1) {
    unsigned char* dirty = malloc(size);
    memset(dirty, 0xaa, size), free(dirty);
    unsigned char* zeros = calloc(1, size);
    say("zeros", all(zeros, 0, size));
    memset(zeros, 0x55, size);
    for (size_t to = 3 * size; to > size / 4; to = to * 2 / 3) {
      errno = 77;
      zeros = realloc(zeros, to);
      if (!all(zeros, 0x55, to < size ? to : size) || errno != 77 || malloc_usable_size(zeros) < to) say("lost", to);
      memset(zeros, 0x55, to);
    }
    free(zeros);
  }
  errno = 77;
  free(malloc(100)), free(malloc(1000000)), free(NULL);
  say("errno of free", errno);
}

int main(void) {
  sizes();
  alignments();
  contents();
  puts("done");
}
