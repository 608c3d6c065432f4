/* abba: one thread waits for a lock while the loader calls it back, holding a lock of its own; the owner of the first
 * allocates, from code that has not done so before. */
#define _GNU_SOURCE
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_int called, locked;

static int wait_for_the_lock(struct dl_phdr_info* info, size_t size, void* unused) {
  (void)info, (void)size, (void)unused;
  called = 1;
  while (!locked) usleep(100);
  pthread_mutex_lock(&lock);
  pthread_mutex_unlock(&lock);
  return 1;
}

static void* call_back(void* unused) {
  dl_iterate_phdr(wait_for_the_lock, NULL);
  return unused;
}

/* Each has a frame of its own size. */
#define ALLOCATE(n)                                  \
  __attribute__((noinline)) void allocate##n(void) { \
    volatile char frame[64 * n];                     \
    frame[0] = 1;                                    \
    free(malloc(100 + (size_t)frame[0]));            \
    free(realloc(NULL, 10000));                      \
  }
ALLOCATE(1)
ALLOCATE(2)
ALLOCATE(3)

int main(int count, char** argument) {
  (void)argument;
  alarm(60);
  if (count > 1) allocate1();
  pthread_t thread;
  pthread_create(&thread, NULL, call_back, NULL);
  while (!called) usleep(100);
  pthread_mutex_lock(&lock);
  locked = 1;
  usleep(20000);
  allocate1(), allocate2(), allocate3();
  pthread_mutex_unlock(&lock);
  pthread_join(thread, NULL);
  puts("not held up");
}
