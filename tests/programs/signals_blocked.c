/* signals_blocked WAY: blocks every signal in that way, or has a handler run with all of them blocked, and then reads
 * from a block that it has freed. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile char* freed;

static void touch(void) {
  sigset_t blocked;
  sigprocmask(SIG_BLOCK, NULL, &blocked);
  dprintf(1, "%s, %d\n", sigismember(&blocked, SIGUSR2) ? "blocked" : "open", freed[30]);
}
static void on_signal(int unused) { touch(), (void)unused; }
static void* in_thread(void* all) {
  if (all) pthread_sigmask(SIG_SETMASK, all, NULL);
  touch();
  return NULL;
}

int main(int count, char** argument) {
  const char* way = argument[count - 1];
  const struct sigaction full = {.sa_handler = on_signal, .sa_mask = {{~0ul}}};
  sigset_t all, old;
  pthread_t thread;
  pthread_attr_t attributes;
  sigfillset(&all);
  freed = malloc(40), freed[30] = 77, free((void*)freed);
  if (!strcmp(way, "sigprocmask")) sigprocmask(SIG_BLOCK, &all, NULL), touch();
  if (!strcmp(way, "again")) sigprocmask(SIG_BLOCK, &all, &old), sigprocmask(SIG_SETMASK, &all, &old), touch();
  if (!strcmp(way, "thread")) pthread_create(&thread, NULL, in_thread, &all), pthread_join(thread, NULL);
  if (!strcmp(way, "inherited"))
    pthread_sigmask(SIG_BLOCK, &all, NULL), pthread_create(&thread, NULL, in_thread, NULL), pthread_join(thread, NULL);
  if (!strcmp(way, "attribute")) {
    pthread_attr_init(&attributes), pthread_attr_setsigmask_np(&attributes, &all);
    pthread_create(&thread, &attributes, in_thread, NULL), pthread_join(thread, NULL);
  }
  if (!strcmp(way, "sa_mask")) sigaction(SIGUSR1, &full, NULL), raise(SIGUSR1);
  if (!strcmp(way, "sighold")) sighold(SIGUSR2), sighold(SIGSEGV), sighold(SIGBUS), touch();
  if (!strcmp(way, "sigset")) sigset(SIGUSR2, SIG_HOLD), sigset(SIGSEGV, SIG_HOLD), sigset(SIGBUS, SIG_HOLD), touch();
  if (!strcmp(way, "sigblock")) sigblock(~0), touch();
  if (!strcmp(way, "sigsetmask")) sigsetmask(~0), touch();
  if (!strcmp(way, "sigsuspend")) {
    signal(SIGUSR1, on_signal), sighold(SIGUSR1), raise(SIGUSR1);
    sigdelset(&all, SIGUSR1), sigsuspend(&all);
  }
  if (!strcmp(way, "daemon")) {
    sigprocmask(SIG_BLOCK, &all, NULL);
    if (fork() == 0) setsid(), touch(), _exit(0);
    wait(NULL);
  }
  if (!strcmp(way, "exec")) { /* behind libc's back, as whoever started us may have done */
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, 8);
    execl("/proc/self/exe", "again", "executed", NULL);
  }
  if (!strcmp(way, "executed")) touch();
  return 0;
}
