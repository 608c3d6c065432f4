/* seccomp filters that kill the process for any call but those listed. */
#pragma once
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What glibc's malloc, stdout and exit need. */
#define FOR_MALLOC                                                                                      \
  SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_brk, SYS_madvise, SYS_futex, SYS_write, SYS_exit, \
      SYS_exit_group, SYS_rt_sigreturn
/* What the loader and libc need on top, to execute another program. */
#define FOR_EXEC                                                                                                 \
  SYS_execve, SYS_openat, SYS_read, SYS_pread64, SYS_newfstatat, SYS_close, SYS_arch_prctl, SYS_set_tid_address, \
      SYS_set_robust_list, SYS_rseq, SYS_prlimit64, SYS_getrandom, SYS_access
/* What fork and wait need. */
#define FOR_FORK SYS_clone, SYS_wait4, SYS_set_robust_list, SYS_gettid, SYS_rt_sigprocmask, SYS_rt_sigaction

struct sandbox {
  struct sock_filter code[200];
  struct sock_fprog program;
};

/* What the README says that Poireau calls on top, where it can't see that there is a filter. */
#define FOR_HOMES SYS_munlock, SYS_gettid, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_getpid

/* `allowed` ends with -1; of madvise only DONTNEED is allowed, the one advice glibc's malloc gives, unless `homes`. */
static inline void sandbox_make(struct sandbox* box, const int* allowed, int homes) {
  static const int for_homes[] = {FOR_HOMES, SYS_madvise, -1};
  unsigned short n = 0;
  box->code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
  for (const int* more = for_homes; homes && *more >= 0; ++more) {
    box->code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*more, 0, 1);
    box->code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  box->code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 4);
  box->code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2]));
  box->code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MADV_DONTNEED, 0, 1);
  box->code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  box->code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  for (; *allowed >= 0; ++allowed) {
    box->code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)*allowed, 0, 1);
    box->code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  }
  box->code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
  box->program = (struct sock_fprog){n, box->code};
}

/* The same without libc: nobody who watches prctl and syscall sees it. */
static inline long bare_syscall(long number, long a, long b, long c) {
  long result;
  register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "0"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
                   : "rcx", "r11", "memory");
  return result;
}

static inline int sandbox_enter(const char* how, const int* allowed) {
  static struct sandbox box;
  sandbox_make(&box, allowed, how[0] == 'b');
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
  switch (how[0]) {
    case 'p':
      return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &box.program);
    case 's':
      return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &box.program);
    case 't':
      return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &box.program);
    default:
      return (int)bare_syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, (long)&box.program);
  }
}
