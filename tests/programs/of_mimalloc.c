#include "counting.h"

#define F __attribute__((weak)) extern
typedef void *H;
F H mi_heap_get_default(void);
F void *mi_malloc(size_t), *mi_malloc_small(size_t), *mi_zalloc(size_t), *mi_calloc(size_t, size_t),
    *mi_mallocn(size_t, size_t);
F void *mi_malloc_aligned(size_t, size_t), *mi_malloc_aligned_at(size_t, size_t, size_t),
    *mi_zalloc_aligned(size_t, size_t);
F void *mi_calloc_aligned(size_t, size_t, size_t), *mi_memalign(size_t, size_t), *mi_aligned_alloc(size_t, size_t);
F void *mi_valloc(size_t), *mi_pvalloc(size_t), *mi_new(size_t), *mi_new_n(size_t, size_t), *mi_new_nothrow(size_t);
F void *mi_new_aligned(size_t, size_t), *mi_new_aligned_nothrow(size_t, size_t), *mi_realloc(void *, size_t);
F void *mi_reallocf(void *, size_t), *mi_rezalloc(void *, size_t), *mi_reallocn(void *, size_t, size_t);
F void *mi_recalloc(void *, size_t, size_t), *mi_reallocarray(void *, size_t, size_t),
    *mi_realloc_aligned(void *, size_t, size_t);
F void *mi_new_realloc(void *, size_t), *mi_new_reallocn(void *, size_t, size_t), *mi_expand(void *, size_t);
F void *mi_heap_malloc(H, size_t), *mi_heap_zalloc(H, size_t), *mi_heap_calloc(H, size_t, size_t),
    *mi_heap_realloc(H, void *, size_t);
F void *mi_heap_malloc_aligned(H, size_t, size_t), *mi_heap_recalloc(H, void *, size_t, size_t),
    *reallocf(void *, size_t);
F int mi_posix_memalign(void **, size_t, size_t);
F void mi_free(void *), mi_cfree(void *), mi_free_size(void *, size_t), mi_free_aligned(void *, size_t), vfree(void *);
F size_t mi_usable_size(void *), mi_malloc_size(void *), mi_good_size(size_t), malloc_good_size(size_t),
    malloc_size(void *);

int main(void) {
  void *p = NULL;
  const H heap = mi_heap_get_default();
  for (size_t size = 1; size < 400000; size = size * 7 + 3) {
    COUNTED("mi_malloc", size, p = mi_malloc(size));
    UNCOUNTED("mi_usable_size", mi_usable_size(p) + mi_malloc_size(p) + malloc_size(p));
    UNCOUNTED("mi_expand", mi_expand(p, size));
    COUNTED("mi_realloc", size * 2, p = mi_realloc(p, size * 2));
    COUNTED("mi_reallocf", size * 3, p = mi_reallocf(p, size * 3));
    COUNTED("mi_reallocn", size * 2, p = mi_reallocn(p, size, 2));
    COUNTED("mi_reallocarray", size * 3, p = mi_reallocarray(p, size, 3));
    COUNTED("mi_new_realloc", size, p = mi_new_realloc(p, size));
    COUNTED("mi_new_reallocn", size * 2, p = mi_new_reallocn(p, size, 2));
    COUNTED("mi_heap_realloc", size, p = mi_heap_realloc(heap, p, size));
    COUNTED("reallocf", size * 5, p = reallocf(p, size * 5));
    UNCOUNTED("mi_free", mi_free(p));
    if (size <= 1024) COUNTED("mi_malloc_small", size, mi_free(mi_malloc_small(size)));
    COUNTED("mi_zalloc", size, p = mi_zalloc(size));
    COUNTED("mi_rezalloc", size * 2, p = mi_rezalloc(p, size * 2));
    COUNTED("mi_recalloc", size * 3, p = mi_recalloc(p, size, 3));
    COUNTED("mi_heap_recalloc", size * 4, p = mi_heap_recalloc(heap, p, size, 4));
    UNCOUNTED("mi_cfree", mi_cfree(p));
    COUNTED("mi_calloc", size * 2, mi_free_size(mi_calloc(size, 2), size * 2));
    COUNTED("mi_mallocn", size * 2, mi_free(mi_mallocn(size, 2)));
    COUNTED("mi_malloc_aligned", size, p = mi_malloc_aligned(size, 64));
    COUNTED("mi_realloc_aligned", size * 2, p = mi_realloc_aligned(p, size * 2, 64));
    UNCOUNTED("mi_free_aligned", mi_free_aligned(p, 64));
    COUNTED("mi_malloc_aligned_at", size, mi_free(mi_malloc_aligned_at(size, 64, 8)));
    COUNTED("mi_zalloc_aligned", size, mi_free(mi_zalloc_aligned(size, 64)));
    COUNTED("mi_calloc_aligned", size * 2, mi_free(mi_calloc_aligned(size, 2, 64)));
    COUNTED("mi_memalign", size, mi_free(mi_memalign(64, size)));
    COUNTED("mi_aligned_alloc", size, mi_free(mi_aligned_alloc(64, size)));
    COUNTED("mi_posix_memalign", size, p = mi_posix_memalign(&p, 64, size) ? NULL : p);
    mi_free(p);
    COUNTED("mi_valloc", size, vfree(mi_valloc(size)));
    COUNTED("mi_pvalloc", (size + 4095) & -4096, mi_free(mi_pvalloc(size)));
    COUNTED("mi_new", size, mi_free(mi_new(size)));
    COUNTED("mi_new_n", size * 2, mi_free(mi_new_n(size, 2)));
    COUNTED("mi_new_nothrow", size, mi_free(mi_new_nothrow(size)));
    COUNTED("mi_new_aligned", size, mi_free(mi_new_aligned(size, 64)));
    COUNTED("mi_new_aligned_nothrow", size, mi_free(mi_new_aligned_nothrow(size, 64)));
    COUNTED("mi_heap_malloc", size, mi_free(mi_heap_malloc(heap, size)));
    COUNTED("mi_heap_zalloc", size, mi_free(mi_heap_zalloc(heap, size)));
    COUNTED("mi_heap_calloc", size * 2, mi_free(mi_heap_calloc(heap, size, 2)));
    COUNTED("mi_heap_malloc_aligned", size, mi_free(mi_heap_malloc_aligned(heap, size, 64)));
    COUNTED("malloc", size, free(malloc(size)));
    if (mi_good_size(size) != size || malloc_good_size(size) != size) wrong += printf("good size of %zu\n", size);
  }
  printf("%d of %d wrong\n", wrong, calls);
  return wrong != 0;
}
