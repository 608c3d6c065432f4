/* signals_sandboxed WAY: executes itself in a sandbox that allows sigaction on top of what malloc and the loader need,
 * and reads from a freed block, and through a null pointer. WAY: quiet: no handlers are set; ignores: one is, of
 * another signal; handles: those of SIGSEGV. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sandbox.h"

static jmp_buf back;
static void say(const char* text) { write(1, text, strlen(text)); }
static void on_fault(int number) { say(number == SIGSEGV ? "handled\n" : "?\n"), longjmp(back, 1); }

int main(int count, char** argument) {
  const int allowed[] = {FOR_MALLOC, FOR_EXEC, SYS_rt_sigaction, -1};
  if (count == 2) {
    if (sandbox_enter("bare", allowed)) return 9;
    execl("/proc/self/exe", argument[0], argument[1], "inside", NULL);
  }
  if (!strcmp(argument[1], "ignores")) signal(SIGPIPE, SIG_IGN);
  if (!strcmp(argument[1], "handles"))
    sigaction(SIGSEGV, &(struct sigaction){.sa_handler = on_fault, .sa_flags = SA_NODEFER}, NULL);
  volatile char* freed = malloc(40);
  freed[30] = 77, free((void*)freed);
  say(freed[30] == 77 ? "as it was\n" : "changed\n");
  if (setjmp(back) == 0) *(volatile char*)8 = 1;
  say("alive\n");
  return 0;
}
