// Frees blocks that something points at, or nothing does, and sweeps.
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

enum { kMost = 100000 };
char* volatile kept_global;
static __thread char* volatile kept_thread;
static atomic_int over, ready;
static int told;
static uintptr_t hidden[64];  // complements: no pointers

static char* make(int i) {
  char* p = malloc(100);
  memset(p, i, 100);
  return p;
}
static char* drop(char* p) {
  free(p);
  return p;
}

static void* hold_in_register(void* unused) {
  register char* p = drop(make(1));
  ready = 1;
  hidden[10] = ~(uintptr_t)p;
  while (!over) __asm__ volatile("" : "+r"(p));
  return unused;
}
static void* hold_in_thread(void* unused) {
  kept_thread = drop(make(2));
  hidden[11] = ~(uintptr_t)kept_thread;
  ready = 2;
  while (!over) usleep(500);
  return unused;
}

// Writes the address of what is held where, and then churns until told.
__attribute__((noinline)) static void fill(int count) {
  for (int i = 0; i < count; ++i) drop(make(i));
}

int main(int argc, char** argv) {
  const int count = argc > 1 ? atoi(argv[1]) : kMost;
  char** block = malloc(64);
  char** fixed = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  char** shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  char** packed = malloc(64);
  char* neighbours[64];
  for (int i = 0; i < 64; ++i) neighbours[i] = make(i);  // so that no run of these dies as a whole
  kept_global = drop(make(3));
  hidden[0] = ~(uintptr_t)kept_global;
  block[3] = drop(make(4)) + 50;
  hidden[1] = ~(uintptr_t)(block[3] - 50);
  *fixed = drop(make(5));
  hidden[2] = ~(uintptr_t)*fixed;
  *shared = drop(make(6));
  hidden[3] = ~(uintptr_t)*shared;
  char* p = drop(make(7));
  memcpy((char*)packed + 12, &p, sizeof p);
  hidden[4] = ~(uintptr_t)p;
  const int polled = epoll_create1(0);
  int ends[2];
  if (pipe(ends) != 0) return 1;
  p = drop(make(8));
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = p};
  hidden[5] = ~(uintptr_t)p;
  epoll_ctl(polled, EPOLL_CTL_ADD, ends[0], &event);
  event.data.ptr = NULL;
  fixed[100] = drop(make(9));
  hidden[6] = ~(uintptr_t)fixed[100];
  mprotect(fixed, 4096, PROT_READ);
  p = NULL;
  pthread_t threads[2];
  pthread_create(&threads[0], NULL, hold_in_register, NULL);
  while (ready != 1) usleep(100);
  pthread_create(&threads[1], NULL, hold_in_thread, NULL);
  while (ready != 2) usleep(100);
  fill(count);
  printf("held");
  for (int i = 0; i < 12; ++i)
    if (hidden[i] != 0) printf(" %d:%zu", i, (size_t)~hidden[i]);
  puts("");
  fflush(stdout);
  for (struct pollfd in = {0, POLLIN, 0}; poll(&in, 1, 1) == 0;) {
    for (int i = 0; i < 200; ++i) free(malloc(1000));
    for (int i = 0; i < 64; ++i) {  // who holds what is kept must not get it
      char* fresh = make(i);
      for (int k = 0; k < 12; ++k)
        if (hidden[k] != 0 && (uintptr_t)fresh == ~hidden[k] && told++ < 10) printf("given out again: %d\n", k);
      drop(fresh);
    }
  }
  puts("end");
  over = 1;
  for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  for (int i = 0; i < 64; ++i) free(neighbours[i]);
  return kept_thread != NULL;
}
