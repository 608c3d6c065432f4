/* Another thread counts in the frame of one that calls syscall with few arguments. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

static volatile int done;

static void* count(void* counter) {
  for (int i = 0; i < 3000000; ++i) __atomic_add_fetch((long*)counter, 1, __ATOMIC_RELAXED);
  done = 1;
  return 0;
}

__attribute__((noinline)) static void call(void) {
  long counters[2] = {0, 0}; /* at the bottom of the frame: where a seventh argument would be */
  pthread_t thread;
  pthread_create(&thread, 0, count, &counters[0]);
  while (!done) syscall(SYS_getppid);
  pthread_join(thread, 0);
  printf("%ld\n", counters[0] + counters[1]);
}

int main(void) {
  call();
  return 0;
}
