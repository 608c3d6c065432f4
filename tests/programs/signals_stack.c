/* signals_stack ROOM: has handlers on an alternate stack with ROOM bytes beyond the least that the kernel takes, lies
 * freed blocks around it, and then overflows its stack, on two threads. What is below the alternate stack stays. */
#define _GNU_SOURCE
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

static __thread sigjmp_buf back;
static size_t room;

static void on_overflow(int unused) { (void)unused, siglongjmp(back, 1); }

__attribute__((noinline)) static int endless(volatile char* above) {
  volatile char here[4096];
  here[0] = above[0];
  return endless(here) + here[0];
}

static void* work(void* unused) {
  enum { kMargin = 4096 };
  char* around = aligned_alloc(16, kMargin + room);
  memset(around, 0x5a, kMargin + room);
  sigaltstack(&(stack_t){.ss_sp = around + kMargin, .ss_size = room}, NULL);
  for (int i = 0; i < 3; ++i) {
    volatile char* freed = malloc(100);
    freed[50] = 77, free((void*)freed);
    dprintf(1, "%d\n", freed[50]);
    if (sigsetjmp(back, 1) == 0) endless("");
  }
  for (int i = 0; i < kMargin; ++i)
    if (around[i] != 0x5a) dprintf(1, "changed: %d bytes below\n", kMargin - i), i = kMargin;
  dprintf(1, "alive\n");
  return unused;
}

int main(int count, char** argument) {
  pthread_t thread;
  const size_t frame = getauxval(AT_MINSIGSTKSZ);
  room = (frame < 2048 ? 2048 : frame) + (size_t)atoi(argument[count - 1]);
  sigaction(SIGSEGV, &(struct sigaction){.sa_handler = on_overflow, .sa_flags = SA_ONSTACK}, NULL);
  pthread_create(&thread, NULL, work, NULL), pthread_join(thread, NULL);
  work(NULL);
  return 0;
}
