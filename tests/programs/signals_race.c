/* signals_race ROUNDS: on two threads handlers for SIGSEGV and SIGBUS are set and asked for, while two others read
 * through null pointers, which the handlers step over, and from freed blocks. The first block is allocated in the midst
 * of it. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

static int rounds;
static pthread_barrier_t barrier;
static __thread volatile int stepped;

static void step_over(void* context) { ((ucontext_t*)context)->uc_mcontext.gregs[REG_RIP] += 2, ++stepped; }
static void one(int number, siginfo_t* info, void* context) { (void)number, (void)info, step_over(context); }
static void two(int number, siginfo_t* info, void* context) { (void)number, (void)info, step_over(context); }

static void* set(void* given) {
  const int number = *(int*)given;
  struct sigaction actions[2] = {{.sa_sigaction = one, .sa_flags = SA_SIGINFO},
                                 {.sa_sigaction = two, .sa_flags = (int)(SA_SIGINFO | SA_NODEFER | SA_ONSTACK)}};
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < rounds; ++i) {
    struct sigaction old = {.sa_flags = 0};
    sigaction(number, i % 3 < 2 ? &actions[i % 3] : NULL, &old);
    const int known = old.sa_sigaction == one ? 0 : old.sa_sigaction == two ? 1 : 2;
    if (known == 2 || ((old.sa_flags ^ actions[known].sa_flags) & (int)(SA_SIGINFO | SA_NODEFER | SA_ONSTACK)))
      printf("round %d: %p, flags %x\n", i, (void*)old.sa_handler, (unsigned)old.sa_flags);
  }
  return NULL;
}

static void* fault(void* unused) {
  pthread_barrier_wait(&barrier);
  for (int i = 0; i < rounds / 10; ++i) {
    __asm__ volatile(".byte 0x8a, 0x07" ::"D"(0) : "rax", "memory"); /* mov (%rdi), %al */
    volatile char* freed = malloc(100);
    freed[50] = 7, free((void*)freed);
    if (stepped != i + 1 || (freed[50] != 7))
      printf("round %d: %d faults, %d\n", i, stepped, freed[50]), stepped = i + 1;
  }
  return unused;
}

int main(int count, char** argument) {
  static int numbers[] = {SIGSEGV, SIGSEGV, SIGBUS};
  pthread_t threads[5];
  rounds = atoi(argument[count - 1]);
  pthread_barrier_init(&barrier, NULL, 5);
  sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = one, .sa_flags = SA_SIGINFO}, NULL);
  sigaction(SIGBUS, &(struct sigaction){.sa_sigaction = one, .sa_flags = SA_SIGINFO}, NULL);
  for (int i = 0; i < 5; ++i) pthread_create(&threads[i], NULL, i < 3 ? set : fault, i < 3 ? &numbers[i] : NULL);
  for (int i = 0; i < 5; ++i) pthread_join(threads[i], NULL);
  return 0;
}
