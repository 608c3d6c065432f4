/* signals_setters WHEN: has every function that sets a handler set some, and tells what it returns and what sigaction
 * then knows; the first allocation comes at the WHEN-th call. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static int calls, when;
static void one(int number) { (void)number; }
static void other(int number, siginfo_t* info, void* context) { (void)number, (void)info, (void)context; }
sighandler_t bsd_signal(int, sighandler_t);

static const char* name(sighandler_t handler) {
  if (handler == (sighandler_t)(void (*)(void))other) return "other";
  return handler == SIG_DFL   ? "default"
         : handler == SIG_IGN ? "ignore"
         : handler == SIG_ERR ? "error"
         : handler == one     ? "one"
                              : "?";
}

static void told(const char* function, int number, sighandler_t got) {
  const int error = errno;
  struct sigaction now = {.sa_handler = SIG_ERR};
  const int done = sigaction(number, NULL, &now);
  printf("%s(%d): %s, errno %d; %d: %s, flags %x, mask %lx, restorer %d\n", function, number, name(got), error, done,
         name(now.sa_handler), (unsigned)now.sa_flags, now.sa_mask.__val[0], now.sa_restorer != NULL);
  if (++calls == when) free(malloc(100));
  errno = 0;
}

static void set(int number, sighandler_t handler) {
  told("signal", number, signal(number, handler));
  told("sysv_signal", number, sysv_signal(number, SIG_DFL));
  told("ssignal", number, ssignal(number, handler));
  told("__sysv_signal", number, __sysv_signal(number, handler));
  told("bsd_signal", number, bsd_signal(number, SIG_IGN));
  told("sigset", number, sigset(number, handler));
  told("sigignore", number, sigignore(number) ? SIG_ERR : SIG_DFL);
  told("siginterrupt", number, siginterrupt(number, 1) ? SIG_ERR : SIG_DFL);
  told("signal", number, signal(number, handler));
  told("siginterrupt", number, siginterrupt(number, 0) ? SIG_ERR : SIG_DFL);
  told("signal", number, signal(number, SIG_DFL));
  for (int flags = 0; flags < 32; ++flags) {
    struct sigaction action = {.sa_sigaction = other}, old = {.sa_handler = one};
    action.sa_flags =
        (int)((flags & 7u) | (flags & 8u ? SA_NODEFER | 0x400u : 0) | (flags & 16u ? SA_RESETHAND | SA_ONSTACK : 0));
    if (flags % 3 == 0) action.sa_handler = flags % 2 ? SIG_DFL : handler;
    action.sa_mask.__val[0] = 0x1000ul << flags | (flags % 5 || (number != SIGSEGV && number != SIGBUS) ? 0 : 0x440);
    const int done = sigaction(number, &action, &old);
    told("sigaction", number, done ? SIG_ERR : old.sa_handler);
    printf("old flags %x, mask %lx\n", (unsigned)old.sa_flags, old.sa_mask.__val[0]);
  }
}

int main(int count, char** argument) {
  static char buffer[1 << 16];
  setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
  when = count > 1 ? atoi(argument[1]) : 0;
  static const int numbers[] = {SIGSEGV, SIGBUS, SIGUSR1, SIGKILL, 0, 65, -1, 32, 64};
  for (unsigned i = 0; i < sizeof numbers / sizeof *numbers; ++i) set(numbers[i], one), set(numbers[i], SIG_ERR);
  return 0;
}
