/* An allocator that a signal handler may call, and leave by longjmp: it has no lock and gives nothing back. */
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

enum { kPool = 1 << 30 };
static char pool[kPool] __attribute__((aligned(64)));
static atomic_size_t used;
void* malloc(size_t size) {
  const size_t whole = ((size ? size : 1) + 31) & -16ul;
  if (size > kPool) return errno = ENOMEM, NULL;
  size_t at = atomic_fetch_add(&used, whole) & (kPool - 1);
  if (at + whole > kPool) return errno = ENOMEM, NULL;
  memcpy(pool + at, &size, sizeof size);
  return pool + at + 16;
}
void free(void* ptr) { (void)ptr; }
void* calloc(size_t count, size_t size) {
  void* got = malloc(count * size);
  return got ? memset(got, 0, count * size) : NULL;
}
void* realloc(void* ptr, size_t size) {
  size_t old = 0;
  void* got = malloc(size);
  if (ptr) memcpy(&old, (char*)ptr - 16, sizeof old), memcpy(got, ptr, old < size ? old : size);
  return got;
}
void* memalign(size_t alignment, size_t size) {
  return (void*)(((size_t)malloc(size + alignment) + alignment - 1) & -alignment);
}
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
size_t malloc_usable_size(void* ptr) { return ptr ? ((size_t*)ptr)[-2] : 0; }
