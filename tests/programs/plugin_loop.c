/* Loads, uses and unloads a plugin again and again while another thread allocates. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static atomic_int stop;
static void* churn(void* unused) {
  while (!stop) free(malloc(100)), free(calloc(10, 1000));
  return unused;
}

int main(int count, char** argument) {
  pthread_t thread;
  pthread_create(&thread, NULL, churn, NULL);
  int sum = 0;
  for (int i = 0; i < 500 && count; ++i) {
    void* plugin = dlopen(argument[1], i % 2 ? RTLD_NOW : RTLD_LAZY | RTLD_GLOBAL);
    if (plugin == NULL) return puts(dlerror()), 1;
    sum += ((int (*)(void))dlsym(plugin, "answer"))();
    dlclose(plugin);
  }
  stop = 1;
  pthread_join(thread, NULL);
  printf("%d\n", sum);
  return 0;
}
