// Says of each request what it was: what - thread function address size alignment. A few blocks change or go, the
// others stay.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <new>

#include "stats.h"

static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;
static void say(const char* what, const char* function, void* at, size_t size, size_t alignment = 1) {
  char line[200];
  snprintf(line, sizeof line, "%s\t%ld\t%s\t%lu\t%zu\t%zu\n", what, syscall(SYS_gettid), function,
           reinterpret_cast<unsigned long>(at), size, alignment);
  pthread_mutex_lock(&printing);
  if (write(1, line, strlen(line)) < 0) _exit(8);
  pthread_mutex_unlock(&printing);
}

static void* work(void* name) {
  pthread_setname_np(pthread_self(), static_cast<const char*>(name));
  for (size_t size = 1; size < 300000; size = size * 5 / 2 + 1) {
    void* block = malloc(size);
    say("born", "malloc", block, size);
    block = calloc(3, size);
    say("born", "calloc", block, 3 * size);
    say("born", "realloc", realloc(nullptr, size + 7), size + 7);
    say("born", "aligned_alloc", aligned_alloc(256, (size + 255) / 256 * 256), (size + 255) / 256 * 256, 256);
    if (posix_memalign(&block, 64, size + 1) == 0) say("born", "posix_memalign", block, size + 1, 64);
    say("born", "operator new", operator new(size + 2), size + 2);
    say("born", "operator new[]", operator new[](size + 3), size + 3);
    say("born", "operator new", operator new(size + 4, std::align_val_t(128)), size + 4, 128);

    block = malloc(size + 5);
    say("born", "malloc", block, size + 5);
    say("gone", "free", block, 0);
    free(block);
    block = operator new(size + 6);
    say("born", "operator new", block, size + 6);
    say("gone", "operator delete", block, 0);
    operator delete(block);
    block = malloc(size + 8);
    say("born", "malloc", block, size + 8);
    const uintptr_t before = reinterpret_cast<uintptr_t>(block);
    void* moved = realloc(block, size * 3 + 9);
    if (reinterpret_cast<uintptr_t>(moved) != before) say("gone", "realloc", reinterpret_cast<void*>(before), 0);
    say(reinterpret_cast<uintptr_t>(moved) != before ? "born" : "resized", "realloc", moved, size * 3 + 9);
  }
  return nullptr;
}

int main() {
  char host[] = "main";
  pthread_t thread;
  work(host);
  char worker[] = "a worker";
  pthread_create(&thread, nullptr, work, worker);
  pthread_join(thread, nullptr);
}
