/* signals_barrier ROUNDS: closes pages of its own blocks to writing, or to everything, as collectors do, and has its
 * handler open them at the first access; with one thread, and then with two. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_int faults;
static int rounds;

static void open_page(int number, siginfo_t* info, void* context) {
  (void)number, (void)context, ++faults;
  mprotect((void*)((uintptr_t)info->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void* work(void* unused) {
  volatile int* block = aligned_alloc(4096, 3 * 4096);
  volatile int* page = block + 1024;
  page[0] = 0;
  for (int i = 0; i < rounds; ++i) {
    mprotect((void*)page, 4096, i % 2 ? PROT_READ : PROT_NONE);
    if (page[0] != i) dprintf(1, "round %d: %d\n", i, page[0]);
    page[0] = i + 1;
  }
  free((void*)block);
  return unused;
}

int main(int count, char** argument) {
  pthread_t thread;
  rounds = atoi(argument[count - 1]);
  sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = open_page, .sa_flags = SA_SIGINFO}, NULL);
  work(NULL);
  printf("%d\n", faults);
  pthread_create(&thread, NULL, work, NULL);
  work(NULL);
  pthread_join(thread, NULL);
  printf("%d\n", faults);
  return 0;
}
