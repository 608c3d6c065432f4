/* signals WHEN HOW WHAT END: gives SIGSEGV and SIGBUS a handler in the way HOW and allocates, in the order WHEN; then
 * has WHAT raise one of them, three times. The handler tells what it finds, and ENDs. */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static sigjmp_buf back;
static const char *what, *end;
static char *beyond_file, alternate[1 << 16];

static void happen(void) {
  errno = 42;
  if (!strcmp(what, "null")) *(volatile char*)8 = 1;
  if (!strcmp(what, "nowhere")) *(volatile char*)(1ul << 63) = 1;
  if (!strcmp(what, "bus")) *(volatile char*)beyond_file = 1;
  if (!strcmp(what, "jump")) ((void (*)(void))16)();
  if (!strcmp(what, "raise")) raise(SIGSEGV);
  if (!strcmp(what, "kill")) kill(getpid(), SIGBUS);
  if (!strcmp(what, "queue")) sigqueue(getpid(), SIGSEGV, (union sigval){.sival_int = 77});
}

static void tell(int number, const siginfo_t* info) {
  static volatile int calls;
  sigset_t mask;
  stack_t stack;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  sigaltstack(NULL, &stack);
  dprintf(1, "%d, errno %d, blocked %lx, alternate stack %x\n", number, errno, mask.__val[0], (unsigned)stack.ss_flags);
  if (info)
    dprintf(1, "code %d, pid %d, value %d\n", info->si_code, info->si_code <= 0 && info->si_pid == getpid(),
            info->si_code == SI_QUEUE ? info->si_value.sival_int : 0);
  if (info && info->si_code > 0) dprintf(1, "address %p\n", info->si_addr == beyond_file ? NULL : info->si_addr);
  if (++calls > 4 || !strcmp(end, "exit")) _exit(calls);
  if (!strcmp(end, "jump")) siglongjmp(back, 1);
  if (!strcmp(end, "nest")) happen();
}
static void plain(int number) { tell(number, NULL); }
static void with_info(int number, siginfo_t* info, void* unused) { tell(number, info); }

static void handle(const char* how, int number) {
  struct sigaction action = {.sa_handler = plain};
  if (!strcmp(how, "untouched")) return;
  if (strstr(how, "default")) action.sa_handler = SIG_DFL;
  if (strstr(how, "ignore")) action.sa_handler = SIG_IGN;
  if (!strncmp(how, "signal", 6)) return (void)signal(number, action.sa_handler);
  if (!strncmp(how, "sysv", 4)) return (void)__sysv_signal(number, action.sa_handler);
  if (strstr(how, "info")) action.sa_sigaction = with_info, action.sa_flags = SA_SIGINFO;
  if (strstr(how, "stack")) action.sa_flags |= SA_ONSTACK;
  if (strstr(how, "once")) action.sa_flags |= (int)SA_RESETHAND;
  if (strstr(how, "open")) action.sa_flags |= SA_NODEFER;
  if (strstr(how, "full")) sigfillset(&action.sa_mask);
  if (strstr(how, "some")) sigaddset(&action.sa_mask, SIGUSR1), sigaddset(&action.sa_mask, number ^ SIGSEGV ^ SIGBUS);
  sigaction(number, &action, NULL);
}

int main(int count, char** argument) {
  static volatile int times;
  const int before = count > 1 && !strcmp(argument[1], "before");
  what = argument[3], end = argument[4];
  beyond_file = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, memfd_create("empty", 0), 0);
  sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = sizeof alternate}, NULL);
  if (!before) free(malloc(100));
  handle(argument[2], SIGSEGV), handle(argument[2], SIGBUS);
  if (before) free(malloc(100));
  sigsetjmp(back, 1);
  while (times < 3) ++times, happen();
  dprintf(1, "alive\n");
  return 0;
}
