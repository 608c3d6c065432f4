/* Where a system call kills that BOXED_ALLOWS does not name ("0,1,39").
 *     boxed PROGRAM ARGUMENTS...  executes it there.
 *     with -DINSIDE, preloaded: goes there itself once the program is loaded, and lets nobody know. */
#include <stdlib.h>

#include "sandbox.h"

static int enter(void) {
  static struct sock_filter code[1000];
  struct sock_fprog program = {0, code};
  code[program.len++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (char* rest = getenv("BOXED_ALLOWS"); rest != NULL && *rest != 0 && program.len < 990; rest += *rest == ',') {
    const unsigned allowed = (unsigned)strtoul(rest, &rest, 10);
    code[program.len++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, allowed, 0, 1);
    code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  code[program.len++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  if (bare_syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0)) return -1;
  return (int)bare_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&program);
}

#ifdef INSIDE
__attribute__((constructor)) static void begin(void) {
  if (bare_syscall(SYS_prctl, PR_GET_SECCOMP, 0, 0) == 0 && enter() != 0) abort();
}
#else
int main(int count, char** argument) {
  if (count < 2 || enter() != 0) return 9;
  execvp(argument[1], argument + 1);
  return 8;
}
#endif
