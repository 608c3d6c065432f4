/* lifecycle WAY: makes a child that way; both allocate, and the facts about the two are printed. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stats.h"

#ifndef REQUESTS
#define REQUESTS 4000
#endif
enum { kRequests = REQUESTS };
struct life {
  struct poireau_stats stats;
  char picked[kRequests];
  atomic_int done;
};
static struct life* lives; /* 0: parent before, 1: child, 2: parent after, 3: second child, or the child's child */

static void live(struct life* life) {
  for (int i = 0; i < kRequests; ++i) {
    const unsigned long before = stats_now().samples;
    free(malloc(16));
    life->picked[i] = stats_now().samples != before;
  }
  life->stats = stats_now();
  life->done = 1;
}

static int child(void* which) {
  live(which);
  return 0;
}

static atomic_int stop;
static void* churn(void* unused) {
  while (!stop) free(malloc(100)), free(calloc(5, 500));
  return unused;
}

static void await(int pid) {
  int status = 0;
  if (pid <= 0 || waitpid(pid, &status, 0) != pid || status != 0) printf("child failed: %d %#x\n", pid, status);
}

static void daemonise(void) {
  if (fork() != 0) return (void)wait(NULL);
  setsid();
  if (fork() != 0) _exit(0);
  close_range(0, ~0u, 0);
  chdir("/");
  live(&lives[1]);
  _exit(0);
}

static void make_children(const char* way, char* self) {
  for (int i = 1; i <= 3; i += 2) {
    int pid = 0;
    if (!strcmp(way, "fork") || !strcmp(way, "threads")) {
      if ((pid = fork()) == 0) _exit(child(&lives[i]));
    } else if (!strcmp(way, "grandchild")) {
      if (i == 3) return;
      if ((pid = fork()) == 0) {
        live(&lives[1]);
        if ((pid = fork()) == 0) _exit(child(&lives[3]));
        _exit(waitpid(pid, NULL, 0) != pid);
      }
    } else if (!strcmp(way, "raw")) {
      if ((pid = (int)syscall(SYS_fork)) == 0) _exit(child(&lives[i]));
    } else if (!strcmp(way, "_Fork")) {
      if ((pid = _Fork()) == 0) _exit(child(&lives[i]));
    } else if (!strcmp(way, "clone")) {
      static char stack[1 << 16] __attribute__((aligned(16)));
      pid = clone(child, stack + sizeof stack, SIGCHLD, &lives[i]);
    } else if (!strcmp(way, "vfork")) {
      if ((pid = vfork()) == 0) {
        live(&lives[i]);
        _exit(0);
      }
    } else if (!strcmp(way, "CLONE_VM")) {
      static char stack[1 << 16] __attribute__((aligned(16)));
      pid = clone(child, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, &lives[i]);
    } else if (!strcmp(way, "spawn") || !strcmp(way, "vfork+exec") || !strcmp(way, "fork+exec")) {
      char* argv[] = {self, "report", i == 1 ? "1" : "3", NULL};
      if (way[0] == 's') {
        posix_spawn(&pid, self, NULL, NULL, argv, environ);
      } else if ((pid = way[0] == 'v' ? vfork() : fork()) == 0) {
        execv(self, argv);
        _exit(9);
      }
    } else {
      daemonise();
      while (!lives[1].done) usleep(1000);
      return;
    }
    await(pid);
  }
}

static const char* alike(int a, int b) {
  return memcmp(lives[a].picked, lives[b].picked, kRequests) ? "different" : "same";
}
static const char* same_id(int a, int b) {
  return memcmp(lives[a].stats.run_id, lives[b].stats.run_id, sizeof lives[a].stats.run_id) ? "different" : "same";
}

int main(int count, char** argument) {
  const int file = 77;
  if (count == 3) { /* executed by ourselves: tell into the file we inherited */
    lives = mmap(NULL, 4 * sizeof *lives, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return child(&lives[atoi(argument[2])]);
  }
  const int fresh = memfd_create("lives", 0);
  if (ftruncate(fresh, 4 * sizeof *lives) || dup2(fresh, file) != file) return 9;
  lives = mmap(NULL, 4 * sizeof *lives, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  pthread_t threads[3];
  const int threaded = !strcmp(argument[1], "threads");
  live(&lives[0]);
  for (int i = 0; threaded && i < 3; ++i) pthread_create(&threads[i], NULL, churn, NULL);
  make_children(argument[1], argument[0]);
  stop = 1;
  for (int i = 0; threaded && i < 3; ++i) pthread_join(threads[i], NULL);
  live(&lives[2]);
  printf("generations %d %d %d %d\n", (int)lives[0].stats.generation, (int)lives[1].stats.generation,
         (int)lives[2].stats.generation, (int)lives[3].stats.generation);
  printf("identities: child %s, parent after %s, other child %s, children %s\n", same_id(0, 1), same_id(0, 2),
         same_id(0, 3), same_id(1, 3));
  printf("picks: child %s, parent after %s, children %s\n", alike(1, 2), alike(0, 2), alike(1, 3));
  /* 16 bytes a request at period 64: 885 of 4000, give or take 6 * 26 */
  for (int i = 0; i < 4; ++i) {
    int picks = 0;
    for (int j = 0; j < kRequests; ++j) picks += lives[i].picked[j];
    if (lives[i].done && (picks < 725 || picks > 1045)) printf("life %d: %d picks\n", i, picks);
    if (i != 2 && lives[i].done && (long)lives[i].stats.samples > picks + 20 && !threaded)
      printf("life %d: %d picks, %d samples\n", i, picks, (int)lives[i].stats.samples);
  }
  return 0;
}
