/* Allocates before our library is relocated (in a resolver), before it is constructed, and after everything.
 * With -DQUIET the resolver doesn't: other allocators crash then, preloaded after us or alone. */
#include "stages.h"

static int implementation(void) { return 42; }
static void* early[3];
static void* resolve(void) {
#ifndef QUIET
  char* text = malloc(20);
  early[0] = realloc(memset(text, 'x', 20), 40);
  free(malloc(1000));
  early[1] = calloc(100, 10);
  early[2] = memalign(256, 10);
  free(NULL);
  if (!early[0] || !early[1] || !early[2]) return NULL;
#endif
  return (void*)implementation;
}
static int resolved(void) __attribute__((ifunc("resolve")));
int library_value(void) {
#ifndef QUIET
  for (int i = 0; i < 3; ++i) kept[stages++] = early[i];
  if (memcmp(early[0], "xxxxxxxxxxxxxxxxxxxx", 20) || (size_t)early[2] % 256 || ((char*)early[1])[999]) abort();
#endif
  return resolved();
}
__attribute__((constructor)) static void begin(void) { stage("library constructor"); }
__attribute__((destructor)) static void end(void) { stage("library destructor"); }
