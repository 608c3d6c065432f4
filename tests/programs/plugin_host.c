/* A program of C: opens each of its arguments as a plugin and calls its `run`. */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char** path) {
  int failed = 0;
  for (int i = 1; i < count; ++i) {
    void* plugin = dlopen(path[i], RTLD_NOW | RTLD_LOCAL);
    int (*run)(void) = plugin ? (int (*)(void))dlsym(plugin, "run") : NULL;
    if (run == NULL) return printf("%s\n", dlerror()), 2;
    failed |= run();
    dlclose(plugin);
  }
  return failed;
}
