/* A plugin that frees what its host made and makes what its host frees. */
#include <stdlib.h>
#include <string.h>

void* exchange(void* given, size_t size) {
  free(given);
  return memset(malloc(size), 1, size);
}
void* mallocs_address(void) { return (void*)malloc; }
