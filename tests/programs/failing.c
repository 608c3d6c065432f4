/* failing COUNTS PROGRAM ARGUMENT...: runs it, and writes to the file COUNTS how often libpoireau.so itself made which
 * system call ("NUMBER TIMES" a line). With FAIL="NUMBER NTH ERROR" the nth of that number doesn't reach the kernel and
 * fails with ERROR; "NUMBER NTH ERROR on": so do all that follow. The program's own calls are left alone. */
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

long ptrace(int request, ...);
enum {
  kSetOptions = 0x4200,
  kSyscall = 24,
  kSetRegs = 13,
  kGetRegs = 12,
  kTraceMe = 0,
  kCalls = 1024,
  kMostIds = 1 << 22
};
enum { kOptions = 1 | 2 | 4 | 8 | 16 | 1 << 20 }; /* good stops, forks, vforks, clones, execs; they end with us */

static unsigned long times[kCalls];
static int owed[kMostIds];   /* a thread's call is to fail with this */
static char begun[kMostIds]; /* its first stop is behind it */
static uint64_t begin, end;  /* of our code in the program */

static int ours(pid_t id, uint64_t at) {
  if (begin == 0) {
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/maps", id);
    FILE* maps = fopen(path, "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
      if (strstr(line, "/libpoireau.so") != NULL && strstr(line, " r-xp ") != NULL)
        sscanf(line, "%lx-%lx", &begin, &end);
    if (maps != NULL) fclose(maps);
  }
  return at >= begin && at < end;
}

static void set_result(pid_t id, int entry, long value) {
  struct user_regs_struct registers;
  ptrace(kGetRegs, id, 0, &registers);
  *(entry ? &registers.orig_rax : &registers.rax) = value;
  ptrace(kSetRegs, id, 0, &registers);
}

int main(int count, char** argument) {
  unsigned long number = kCalls, nth = 0;
  int error = 0;
  char on[4] = "";
  if (count < 3) return 125;
  if (getenv("FAIL") != NULL) sscanf(getenv("FAIL"), "%lu %lu %d %3s", &number, &nth, &error, on);
  unsetenv("FAIL");
  const pid_t first = fork();
  if (first == 0) {
    if (getenv("PRELOAD") != NULL) setenv("LD_PRELOAD", getenv("PRELOAD"), 1), unsetenv("PRELOAD");
    ptrace(kTraceMe, 0, 0, 0);
    raise(SIGSTOP);
    execv(argument[2], argument + 2);
    _exit(126);
  }
  int status, result = 127;
  waitpid(first, &status, 0);
  begun[first] = 1;
  ptrace(kSetOptions, first, 0, kOptions);
  ptrace(kSyscall, first, 0, 0);
  for (pid_t id; (id = waitpid(-1, &status, __WALL)) > 0 || errno == EINTR;) {
    if (id <= 0 || id >= kMostIds) continue;
    if (!WIFSTOPPED(status)) {
      if (id == first) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      begun[id] = 0;
      continue;
    }
    int signal = WSTOPSIG(status);
    if (signal == (SIGTRAP | 0x80)) {
      signal = 0;
      struct ptrace_syscall_info info;
      if (ptrace(PTRACE_GET_SYSCALL_INFO, id, sizeof info, &info) <= 0) {
      } else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr < kCalls && ours(id, info.instruction_pointer)) {
        const unsigned long now = ++times[info.entry.nr];
        if (info.entry.nr == number && (now == nth || (now > nth && on[0] != '\0'))) {
          owed[id] = error;
          set_result(id, 1, -1);
        }
      } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && owed[id] != 0) {
        set_result(id, 0, -owed[id]);
        owed[id] = 0;
      }
    } else if (signal == SIGTRAP && status >> 16 != 0) {
      signal = 0;
      if (status >> 16 == PTRACE_EVENT_EXEC) begin = end = 0;
    } else if (signal == SIGSTOP && !begun[id]) {
      signal = 0;
    }
    begun[id] = 1;
    ptrace(kSyscall, id, 0, signal);
  }
  FILE* counts = fopen(argument[1], "w");
  for (unsigned long each = 0; counts != NULL && each < kCalls; ++each)
    if (times[each] != 0) fprintf(counts, "%lu %lu\n", each, times[each]);
  if (counts != NULL) fclose(counts);
  return result;
}
