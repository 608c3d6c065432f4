/* stepped WHAT SIZE TIMES STRIDE MOST: does it, and at each STRIDE-th instruction of that which a signal may interrupt
 * comes one, MOST at most, whose handler forks. The child goes on with what was interrupted, looks at all of its
 * blocks, allocates, frees them and ends. Prints how many came. A process that steps the other has them come: int3
 * tells where. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { kBegin = 0x5741, kEnd, kHandled, kBlocks = 2000, kOthers = 1000 };
static volatile int is_child;
static void tell(long what) {
  if (!is_child) __asm__ volatile("int3" ::"a"(what) : "memory");
}
static void check(int holds, const char* what) {
  if (holds) return;
  dprintf(1, "wrong: %s, errno %d\n", what, errno);
  _exit(9);
}

/* -- the one that is stepped -- */

static unsigned char* blocks[kBlocks];
static size_t sizes[kBlocks];
static int content(int i) { return i * 31 % 251 + 1; }
static void look(int i) {
  for (size_t k = 0; k < sizes[i]; ++k) check(blocks[i][k] == content(i), "a block's content");
}
static void keep(int i, void* block, size_t size) {
  check(block != NULL, "no block");
  blocks[i] = block;
  sizes[i] = size;
  memset(block, content(i), size);
}
static void drop(int i) {
  unsigned char* const block = blocks[i];
  look(i);
  blocks[i] = NULL;
  sizes[i] = 0;
  free(block);
}
static void churn(int steps) {
  static uint32_t seed = 1;
  for (int n = 0; n < steps; ++n) {
    seed = seed * 1664525 + 1013904223;
    const int i = (int)(seed >> 8) % kOthers;
    const size_t size = 1 + (seed >> 16 & (seed >> 28 == 0 ? 0x3fff : 0x1ff));
    drop(i);
    keep(i, n % 3 == 0 ? calloc(1, size) : malloc(size), size);
  }
}
static void end_child(size_t size) {
  if (!is_child) return;
  for (int i = 0; i < 8; ++i) drop(i), keep(i, malloc(size), size);
  churn(40);
  for (int i = 0; i < kBlocks; ++i) drop(i);
  _exit(0);
}

static void ignore(int number) { (void)number; }
static void on_signal(int number) {
  const int error = errno;
  int status;
  if (is_child) return;
  const pid_t child = fork();
  check(child >= 0, "no child");
  is_child = child == 0;
  if (is_child) {
    signal(SIGTRAP, ignore);
    errno = error;
    return;
  }
  check(waitpid(child, &status, 0) == child && status == 0, "what became of a child");
  errno = error;
  tell(kHandled);
  (void)number;
}

static void do_it(const char* what, size_t size, int times) {
  const int first = kOthers;
  for (int i = first; i < first + times && strcmp(what, "frees") == 0; ++i) keep(i, malloc(size), size);
  for (int i = first; i < first + times; ++i) {
    void* block = blocks[i];
    const size_t had = sizes[i];
    blocks[i] = NULL;
    sizes[i] = 0;
    int status = 0;
    pid_t child = 0;
    tell(kBegin);
    if (strcmp(what, "frees") == 0) {
      free(block);
    } else if (strcmp(what, "grows") == 0) {
      block = realloc(block, had + size);
    } else if (strcmp(what, "forks") == 0) {
      child = fork();
      if (child == 0) _exit(0);
    } else {
      block = strcmp(what, "zeroed") == 0 ? calloc(1, size) : malloc(size);
    }
    tell(kEnd);
    if (child != 0) check(waitpid(child, &status, 0) == child ? status == 0 : is_child, "what became of a fork");
    sigset_t blocked;
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    check(!sigismember(&blocked, SIGALRM), "signals are blocked");
    if (block != NULL && strcmp(what, "frees") != 0) keep(i, block, had + size);
    if (strcmp(what, "pairs") == 0) {
      tell(kBegin);
      drop(i);
      tell(kEnd);
    }
    end_child(size);
  }
}

/* -- the other -- */

static pid_t stepped;
static struct user_regs_struct state;
static long sent;
static void end(int status) {
  printf("%ld signals\n", sent);
  exit(status);
}

/* To where it stops next: the signal. */
static int go(int how, int number) {
  int status;
  check(ptrace((enum __ptrace_request)how, stepped, NULL, (void*)(long)number) == 0, "ptrace");
  check(waitpid(stepped, &status, __WALL) == stepped, "waitpid");
  if (!WIFSTOPPED(status)) end(WIFEXITED(status) ? WEXITSTATUS(status) : 8);
  check(ptrace(PTRACE_GETREGS, stepped, NULL, &state) == 0, "registers");
  return WSTOPSIG(status);
}
static int tells(int number, long what) {
  siginfo_t info;
  if (number != SIGTRAP || (long)state.rax != what) return 0;
  return ptrace(PTRACE_GETSIGINFO, stepped, NULL, &info) == 0 && info.si_code == SI_KERNEL;
}
static int may_come(void) {
  uint64_t blocked = ~(uint64_t)0;
  check(ptrace(PTRACE_GETSIGMASK, stepped, sizeof blocked, &blocked) == 0, "mask");
  return (blocked >> (SIGUSR1 - 1) & 1) == 0;
}
static void send(void) {
  const struct user_regs_struct before = state;
  for (int number = SIGUSR1; !tells(number = go(PTRACE_CONT, number == SIGTRAP ? 0 : number), kHandled);) {
  }
  do go(PTRACE_SINGLESTEP, 0);
  while (state.rip != before.rip || state.rsp != before.rsp);
}
static void step(long stride, long most) {
  long since = 0;
  int stepping = 0;
  for (int number = 0; sent < most;) {
    number = go(stepping ? PTRACE_SINGLESTEP : PTRACE_CONT, number == SIGTRAP ? 0 : number);
    if (tells(number, kBegin)) stepping = 1;
    if (tells(number, kEnd)) stepping = 0;
    if (!stepping || number != SIGTRAP || ++since < stride || !may_come()) continue;
    since = 0;
    send();
    ++sent;
  }
  kill(stepped, SIGKILL);
  end(0);
}

int main(int count, char** words) {
  if (count != 6) return 7;
  const long stride = atol(words[4]), most = atol(words[5]);
  stepped = fork();
  if (stepped != 0) {
    int status;
    check(waitpid(stepped, &status, 0) == stepped && WIFSTOPPED(status), "it does not stop");
    ptrace(PTRACE_SETOPTIONS, stepped, NULL, PTRACE_O_EXITKILL);
    step(stride, most);
  }
  ptrace(PTRACE_TRACEME, 0, NULL, NULL);
  signal(SIGTRAP, ignore);
  const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGUSR1, &action, NULL);
  for (int i = 0; i < kOthers; ++i) keep(i, malloc(1 + (size_t)i % 300), 1 + (size_t)i % 300);
  raise(SIGSTOP);
  do_it(words[1], (size_t)atol(words[2]), atoi(words[3]));
  for (int i = 0; i < kBlocks; ++i) drop(i);
  _exit(0);
}
