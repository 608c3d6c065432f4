/* crossing_host HOW PLUGIN: exchanges memory with a plugin opened deepbind, plain, or in a namespace of its own. */
#define _GNU_SOURCE
#include <dlfcn.h>

#include "stats.h"

int main(int count, char** argument) {
  const char* how = argument[1];
  void* plugin = how[0] == 'n' ? dlmopen(LM_ID_NEWLM, argument[2], RTLD_NOW)
                               : dlopen(argument[2], RTLD_NOW | RTLD_LOCAL | (how[0] == 'd' ? RTLD_DEEPBIND : 0));
  if (plugin == NULL) return printf("%s\n", dlerror()), 2;
  void* (*exchange)(void*, size_t) = (void* (*)(void*, size_t))dlsym(plugin, "exchange");
  void* (*mallocs_address)(void) = (void* (*)(void))dlsym(plugin, "mallocs_address");
  if (how[0] != 'n')
    for (size_t size = 1; size < 1000000; size = size * 2 + 11)
      for (int i = 0; i < 20; ++i)
        free(exchange(malloc(size), size)), free(realloc(exchange(calloc(1, size), size), size + 1));
  else
    for (int i = 0; i < 5; ++i) exchange(malloc(24), 24); /* more would upset glibc, bare as well */
  const struct poireau_stats now = stats_now();
  if (now.sample_period)
    fprintf(stderr, "%d deepbinds, %d namespaces, malloc %s\n", (int)now.deepbinds, (int)now.namespaces,
            mallocs_address() == (void*)malloc ? "ours" : "its own");
  dlclose(plugin);
  return count != 3;
}
