/* Has a malloc of its own, as a program that links an allocator statically has. */
#include "stats.h"

static char pool[1 << 20] __attribute__((aligned(16)));
static size_t used;
static int calls;
void* malloc(size_t size) {
  ++calls;
  size = (size + 31) & -16ul;
  if (size > sizeof pool - used) return NULL;
  *(size_t*)(pool + used) = size;
  return pool + (used += size) - size + 16;
}
void free(void* ptr) { calls += ptr != NULL; }
void* calloc(size_t count, size_t size) { return malloc(count * size); }
void* realloc(void* ptr, size_t size) {
  void* fresh = malloc(size);
  if (ptr) memcpy(fresh, ptr, ((size_t*)ptr)[-2] - 16);
  return fresh;
}

int main(void) {
  calls = 0;
  free(malloc(100));
  free(strdup("text"));
  free(realloc(calloc(3, 3), 50));
  const struct poireau_stats stats = stats_now();
  char line[100];
  snprintf(line, sizeof line, "%d calls of ours, %d samples, period %d\n", calls, (int)stats.samples,
           (int)stats.sample_period);
  fputs(line, stdout);
  return 0;
}
