/* A library's constructor leaves an error pending that the program asks for. */
#include <dlfcn.h>
#include <stdio.h>
#ifdef LIBRARY
__attribute__((constructor)) static void fail(void) { dlopen("/nowhere/at/all.so", RTLD_NOW); }
#else
int main(void) {
  const char* error = dlerror();
  printf("pending: %s\n", error ? error : "none");
  error = dlerror();
  if (error) printf("and: %s\n", error);
  return 0;
}
#endif
