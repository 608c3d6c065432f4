/* same_address LIBRARY LIBRARY: loads and unloads them in turn; each calls back out of frames of its own size. Says how
 * often one lay where the other had been. */
#ifdef FRAME
#include <string.h>

int run(int (*back)(int), int depth);
int run(int (*back)(int), int depth) {
  volatile char frame[FRAME];
  memset((char*)frame, depth, sizeof frame);
  int got = depth == 0 ? back(3) : run(back, depth - 1);
  return got + frame[1];
}
#else
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

static int allocate(int count) {
  for (int i = 0; i < count; ++i) free(malloc(100));
  return count;
}

int main(int count, char** argument) {
  if (count != 3) return 2;
  void* before = NULL;
  int met = 0;
  for (int round = 0; round < 400; ++round) {
    void* const library = dlopen(argument[1 + round % 2], RTLD_NOW);
    if (library == NULL) return 3;
    int (*run)(int (*)(int), int);
    *(void**)&run = dlsym(library, "run");
    met += (void*)run == before;
    before = (void*)run;
    if (run(allocate, 5) != 3 + 15) return 4;
    dlclose(library);
  }
  printf("%d\n", met);
  return 0;
}
#endif
