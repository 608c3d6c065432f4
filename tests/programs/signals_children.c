/* signals_children WAY: a child made that way asks for the handlers and sets others, and may make one of its own; then
 * the parent's are what they were. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static void parents(int number) { dprintf(1, "the parent's, %d\n", number), siglongjmp(back, 1); }
static void childs(int number) { dprintf(1, "the child's, %d\n", number), siglongjmp(back, 1); }

static void tell(const char* who) {
  for (int i = 0; i < 2; ++i) {
    struct sigaction now;
    sigaction(i ? SIGBUS : SIGSEGV, NULL, &now);
    const char* name = now.sa_handler == parents   ? "parent's"
                       : now.sa_handler == childs  ? "child's"
                       : now.sa_handler == SIG_DFL ? "default"
                       : now.sa_handler == SIG_IGN ? "ignored"
                                                   : "?";
    dprintf(1, "%s: %s, flags %x, mask %lx\n", who, name, (unsigned)now.sa_flags, now.sa_mask.__val[0]);
  }
}

static void be_child(const char* way) {
  tell("child, before");
  if (strstr(way, "default"))
    signal(SIGSEGV, SIG_DFL), signal(SIGBUS, SIG_IGN);
  else
    signal(SIGSEGV, childs), sigaction(SIGBUS, &(struct sigaction){.sa_handler = childs, .sa_flags = SA_NODEFER}, NULL);
  tell("child, after");
  if (!strstr(way, "default") && !sigsetjmp(back, 1)) *(volatile char*)8 = 1;
  if (!sigsetjmp(back, 1)) raise(SIGBUS);
}

static void make(const char* way) {
  int status;
  const int pid = !strncmp(way, "vfork", 5) ? vfork() : !strncmp(way, "raw", 3) ? (int)syscall(SYS_fork) : fork();
  if (pid == 0) {
    if (strchr(way, '+'))
      make(strchr(way, '+') + 1), tell("between");
    else
      be_child(way);
    _exit(3);
  }
  waitpid(pid, &status, 0);
  dprintf(1, "child: status %x\n", (unsigned)status);
}

int main(int count, char** argument) {
  signal(SIGSEGV, parents), signal(SIGBUS, parents);
  free(malloc(100));
  make(argument[count - 1]);
  tell("parent");
  if (!sigsetjmp(back, 1)) *(volatile char*)8 = 1;
  volatile char* freed = malloc(100);
  freed[50] = 77, free((void*)freed);
  dprintf(1, "%d\n", freed[50]);
  if (!sigsetjmp(back, 1)) *(volatile char*)8 = 1;
  return 0;
}
