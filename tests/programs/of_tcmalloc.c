#include "counting.h"

#define F __attribute__((weak)) extern
F void *tc_malloc(size_t), *tc_malloc_skip_new_handler(size_t), *tc_calloc(size_t, size_t), *tc_realloc(void *, size_t);
F void *tc_memalign(size_t, size_t), *tc_valloc(size_t), *tc_pvalloc(size_t), *tc_new(size_t), *tc_newarray(size_t);
F void *tc_new_nothrow(size_t, const void *), *tc_newarray_nothrow(size_t, const void *);
F void *tc_new_aligned(size_t, size_t), *tc_newarray_aligned(size_t, size_t);
F void *tc_new_aligned_nothrow(size_t, size_t, const void *),
    *tc_newarray_aligned_nothrow(size_t, size_t, const void *);
F void tc_free(void *), tc_free_sized(void *, size_t), tc_cfree(void *), tc_delete(void *), tc_deletearray(void *);
F void tc_delete_sized(void *, size_t), tc_deletearray_sized(void *, size_t), tc_delete_aligned(void *, size_t);
F void tc_delete_nothrow(void *, const void *), tc_deletearray_aligned_nothrow(void *, size_t, const void *);
F void tc_delete_sized_aligned(void *, size_t, size_t);
F int tc_posix_memalign(void **, size_t, size_t);
F size_t tc_malloc_size(void *), tc_nallocx(size_t, int), nallocx(size_t, int), malloc_size(void *);

int main(void) {
  void *p = NULL, *nothrow = &p;
  for (size_t size = 1; size < 400000; size = size * 7 + 3) {
    COUNTED("tc_malloc", size, p = tc_malloc(size));
    UNCOUNTED("tc_malloc_size", tc_malloc_size(p));
    UNCOUNTED("malloc_size", malloc_size(p));
    COUNTED("tc_realloc", size * 3, p = tc_realloc(p, size * 3));
    UNCOUNTED("tc_free", tc_free(p));
    COUNTED("tc_malloc_skip_new_handler", size, tc_free_sized(tc_malloc_skip_new_handler(size), size));
    COUNTED("tc_calloc", size * 2, tc_cfree(tc_calloc(size, 2)));
    COUNTED("tc_memalign", size, tc_free(tc_memalign(64, size)));
    COUNTED("tc_posix_memalign", size, p = tc_posix_memalign(&p, 64, size) ? NULL : p);
    free(p);
    COUNTED("tc_valloc", size, tc_free(tc_valloc(size)));
    COUNTED("tc_pvalloc", size == 0 ? 4096 : (size + 4095) & -4096, tc_free(tc_pvalloc(size)));
    COUNTED("tc_new", size, tc_delete(tc_new(size)));
    COUNTED("tc_new", size, tc_delete_sized(tc_new(size), size));
    COUNTED("tc_newarray", size, tc_deletearray(tc_newarray(size)));
    COUNTED("tc_newarray", size, tc_deletearray_sized(tc_newarray(size), size));
    COUNTED("tc_new_nothrow", size, tc_delete_nothrow(tc_new_nothrow(size, nothrow), nothrow));
    COUNTED("tc_newarray_nothrow", size, tc_deletearray(tc_newarray_nothrow(size, nothrow)));
    COUNTED("tc_new_aligned", size, tc_delete_aligned(tc_new_aligned(size, 64), 64));
    COUNTED("tc_newarray_aligned", size, tc_delete_sized_aligned(tc_newarray_aligned(size, 64), size, 64));
    COUNTED("tc_new_aligned_nothrow", size, tc_delete(tc_new_aligned_nothrow(size, 64, nothrow)));
    COUNTED("tc_newarray_aligned_nothrow", size,
            tc_deletearray_aligned_nothrow(tc_newarray_aligned_nothrow(size, 64, nothrow), 64, nothrow));
    COUNTED("malloc", size, free(malloc(size)));
    if (tc_nallocx(size, 0) != size || nallocx(size, 0) != size) wrong += printf("nallocx of %zu\n", size);
  }
  printf("%d of %d wrong\n", wrong, calls);
  return wrong != 0;
}
