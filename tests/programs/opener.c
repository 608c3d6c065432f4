/* Opens libraries by name; as a program (with -DPROGRAM) it lets a library do the same too. Where RUNPATH points is the
 * business of whoever calls dlopen. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static void look(const char* who, const char* name) {
  void* found = dlopen(name, RTLD_NOW);
  int (*answer)(void) = found ? (int (*)(void))dlsym(found, "answer") : NULL;
  const char* why = found ? "" : dlerror();
  printf("%s, %s: %d%s\n", who, name, answer ? answer() : 0, why);
  if (found) printf("closed: %d, still there: %d\n", dlclose(found), dlopen(name, RTLD_NOW | RTLD_NOLOAD) != NULL);
  void* again = dlmopen(LM_ID_BASE, name, RTLD_NOW);
  printf("%s, dlmopen: %d\n", who, again != NULL);
  if (again) dlclose(again);
}

#ifdef PROGRAM
void library_look(int count, char** name);
int main(int count, char** name) {
  for (int i = 1; i < count; ++i) look("program", name[i]);
  library_look(count, name);
  printf("self: %d\n", dlopen(NULL, RTLD_NOW) != NULL);
  return 0;
}
#else
void library_look(int count, char** name) {
  for (int i = 1; i < count; ++i) look("library", name[i]);
}
#endif
