// Allocates at every stage of a process and of its threads.
#include "stages.h"

#include <dlfcn.h>
#include <pthread.h>

extern "C" int library_value();
static int implementation() { return 7; }
extern "C" void* resolve() {
#ifndef QUIET
  free(malloc(100));
  kept[stages++] = calloc(1, 100);
  if (!kept[0]) return nullptr;
#endif
  return (void*)implementation;
}
static int resolved() __attribute__((ifunc("resolve")));

static void first(int, char**, char**) {
  if (dlsym(RTLD_NEXT, "there is no such function") != nullptr || dlerror() == nullptr) abort();
  stage("preinit");
}
__attribute__((section(".preinit_array"), used)) static void (*preinit)(int, char**, char**) = first;
__attribute__((constructor(101))) static void early() { stage("constructor"); }
__attribute__((destructor(101))) static void late() { stage("destructor"); }
struct Global {
  Global() { stage("global"); }
  ~Global() { stage("~global"); }
} global;
struct Local {
  ~Local() { stage("~thread_local"); }
  int used = 0;
};
thread_local Local local;
static pthread_key_t key;
static void* thread(void*) {
  ++local.used;
  pthread_setspecific(key, &key);
  stage("thread");
  return nullptr;
}

int main() {
  if (resolved() != 7 || library_value() != 42) abort();
  stage("main");
  static int rounds;
  pthread_key_create(&key, [](void*) {
    stage("key destructor");
    if (++rounds < 3) pthread_setspecific(key, &key);  // it comes back, when all else is gone
  });
  atexit([] { stage("atexit"); });
  at_quick_exit([] {});
  pthread_t id;
  pthread_create(&id, nullptr, thread, nullptr);
  pthread_join(id, nullptr);
  ++local.used;
  return 0;
}
