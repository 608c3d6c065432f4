/* stacks: allocates from recursion, callbacks, signal handlers on a stack of their own, and threads; each request has
 * a size that nothing else has. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static size_t size = 70001;
__attribute__((noinline)) static void allocate(void) {
  free(malloc(size++));
  __asm__ volatile("");
}

__attribute__((noinline)) static int recurse(int depth, int room) {
  volatile char frame[room];
  frame[0] = 1;
  if (depth > 0) return recurse(depth - 1, room + depth % 3 * 16) + frame[0];
  allocate();
  return frame[0];
}

static int compare(const void* a, const void* b) {
  if (size < 70100) allocate();
  return *(const char*)a - *(const char*)b;
}

static void handler(int number) {
  (void)number;
  recurse(3, 8);
}

static void* of_thread(void* unused) {
  recurse(10, 8);
  return unused;
}

int main(void) {
  static char stack[1 << 16];
  const stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
  const struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
  char text[] = "quicksort";
  for (int depth = 0; depth < 40; depth += 7) recurse(depth, 8);
  recurse(500, 8);
  qsort(text, strlen(text), 1, compare);
  sigaltstack(&other, NULL);
  sigaction(SIGUSR1, &action, NULL);
  raise(SIGUSR1);
  pthread_t thread;
  pthread_create(&thread, NULL, of_thread, NULL);
  pthread_join(thread, NULL);
}
