/* Stands in the chain as other tools do: counts, and passes on to the next. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int mallocs, frees;
static void* (*next_malloc)(size_t);
static void (*next_free)(void*);
void* malloc(size_t size) {
  if (!next_malloc) next_malloc = (void* (*)(size_t))dlsym(RTLD_NEXT, "malloc");
  ++mallocs;
  return next_malloc(size);
}
void free(void* ptr) {
  if (!next_free) next_free = (void (*)(void*))dlsym(RTLD_NEXT, "free");
  ++frees;
  next_free(ptr);
}
int interposed_mallocs(void) { return mallocs; }
