/* cancelled CALL HOW: a thread that waits in CALL is cancelled, HOW = deferred or asynchronous; as a C++ program, what
 * it leaves is destroyed on the way. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static const char *call, *how;
static int ends[2];
static char text[100];

static void clean_up(void* which) { printf("cleaned up %s\n", (const char*)which); }

#ifdef __cplusplus
struct Local {
  ~Local() { puts("destroyed"); }
};
#define LOCAL Local local
#else
#define LOCAL (void)0
#endif

static void wait_for_ever(void) {
  LOCAL;
  struct iovec part = {text, sizeof text};
  struct msghdr message;
  memset(&message, 0, sizeof message);
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  long result = 0;
  if (!strcmp(call, "read")) result = read(ends[0], text, sizeof text);
  if (!strcmp(call, "readv")) result = readv(ends[0], &part, 1);
  if (!strcmp(call, "recv")) result = recv(ends[0], text, sizeof text, 0);
  if (!strcmp(call, "recvmsg")) result = recvmsg(ends[0], &message, 0);
  while (!strcmp(call, "write") && (result = write(ends[1], text, sizeof text)) > 0) {
  }
  printf("returned %ld\n", result);
}

static void* work(void* unused) {
  if (!strcmp(how, "asynchronous")) pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
  pthread_cleanup_push(clean_up, (void*)"first");
  pthread_cleanup_push(clean_up, (void*)"second");
  wait_for_ever();
  pthread_cleanup_pop(0);
  pthread_cleanup_pop(0);
  return unused;
}

int main(int count, char** argument) {
  pthread_t thread;
  void* result;
  if (count != 3) return 9;
  call = argument[1], how = argument[2];
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) || pthread_create(&thread, NULL, work, NULL)) return 8;
  usleep(20000); /* it waits by now; if not, the outcome is the same */
  pthread_cancel(thread);
  if (pthread_join(thread, &result)) return 7;
  puts(result == PTHREAD_CANCELED ? "cancelled" : "not cancelled");
  return 0;
}
