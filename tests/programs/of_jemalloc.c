#include "counting.h"

#define F __attribute__((weak)) extern
F void* mallocx(size_t, int);
F void* rallocx(void*, size_t, int);
F size_t xallocx(void*, size_t, size_t, int);
F size_t sallocx(const void*, int);
F void dallocx(void*, int);
F void sdallocx(void*, size_t, int);
F size_t nallocx(size_t, int);
F int mallctl(const char*, void*, size_t*, void*, size_t);

int main(void) {
  void* p = NULL;
  size_t got = 0;
  for (size_t size = 1; size < 5000000; size = size * 7 + 3) {
    for (int flags = 0; flags < 13; flags += 6) { /* none, 64 bytes, a page */
      COUNTED("mallocx", size, p = mallocx(size, flags));
      COUNTED("rallocx", size * 2, p = rallocx(p, size * 2, flags));
      UNCOUNTED("xallocx", got = xallocx(p, size * 2, 0, flags));
      if (got < size * 2) wrong += printf("xallocx: %zu\n", got);
      UNCOUNTED("sallocx", got = sallocx(p, flags));
      if (got < size * 2) wrong += printf("sallocx: %zu\n", got);
      UNCOUNTED("sdallocx", sdallocx(p, size * 2, flags));
      COUNTED("mallocx", size, p = mallocx(size, flags));
      UNCOUNTED("dallocx", dallocx(p, flags));
      UNCOUNTED("nallocx", got = nallocx(size, flags));
      if (got != size) wrong += printf("nallocx: %zu\n", got);
    }
    COUNTED("malloc", size, free(malloc(size)));
  }
  UNCOUNTED("a huge mallocx", p = mallocx(1ul << 62, 0));
  COUNTED("malloc", 10, free(malloc(10)));
  printf("%d of %d wrong\n", wrong, calls);
  return wrong != 0 || p != NULL || !mallctl;
}
