/* presence NAMES...: which allocators' extensions the program sees, each way that it may look. With -shared: the
 * same looks from a library. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#define F __attribute__((weak)) extern
F void mallocx(void), nallocx(void), sdallocx(void), tc_malloc(void), tc_nallocx(void), mi_malloc(void),
    mi_good_size(void), malloc_size(void), independent_calloc(void), vfree(void);

#ifdef LIBRARY
void library_look(int count, char** name)
#else
void library_look(int count, char** name);
int main(int count, char** name)
#endif
{
  void (*const weak[])(void) = {mallocx,   nallocx,      sdallocx,    tc_malloc,          tc_nallocx,
                                mi_malloc, mi_good_size, malloc_size, independent_calloc, vfree};
  for (unsigned i = 0; i < sizeof weak / sizeof *weak; ++i) printf("weak %u: %s\n", i, weak[i] ? "there" : "absent");
  for (int i = 1; i < count; ++i)
    printf("%s: %s, %s\n", name[i], dlsym(RTLD_DEFAULT, name[i]) ? "there" : "absent",
           dlsym(RTLD_NEXT, name[i]) ? "there" : "absent");
#ifndef LIBRARY
  library_look(count, name);
  return 0;
#endif
}
