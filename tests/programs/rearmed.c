/* rearmed CYCLES ON OFF: sends itself the requests ON and OFF in turn, and allocates blocks of 1000 bytes until each
 * has been answered. Prints how many bytes it asked for from the answer to ON up to the request that answered OFF. */
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { kSize = 1000 };
static int our_end;
static char answer[4096];
static void* volatile block;

static unsigned long start_time(void) {
  char text[1024] = "";
  FILE* file = fopen("/proc/self/stat", "r");
  const size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = 0;
  const char* field = strrchr(text, ')');
  for (int number = 2; number < 22; ++number) field = strchr(field + 1, ' ');
  return strtoul(field, NULL, 10);
}

static void allocate(void) {
  block = malloc(kSize);
  free(block);
}

/* Whether something came. */
static int hear(void) {
  const ssize_t size = recv(our_end, answer, sizeof answer - 1, MSG_DONTWAIT);
  if (size <= 0) return 0;
  answer[size] = 0;
  return 1;
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  const int size =
      snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "poireau/%d/%d/%lu", geteuid(), getpid(), start_time());
  const socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size);
  our_end = socket(AF_UNIX, SOCK_STREAM, 0);
  while (connect(our_end, (const struct sockaddr*)&to, length) != 0)
    for (int i = 0; i < 1000; ++i) allocate();
  do allocate();
  while (!hear());
  unsigned long asked_for = 0;
  for (long i = 0, cycles = 2 * atol(argv[1]); i < cycles; ++i) {
    const int on = i % 2;
    char line[256];
    const int bytes = snprintf(line, sizeof line, "%s\n", argv[on ? 3 : 2]);
    if (send(our_end, line, (size_t)bytes, 0) != bytes) return 1;
    do {
      allocate();
      if (on) asked_for += kSize;
    } while (!hear());
    if (strncmp(answer, "{\"ok\":true", 10) != 0) {
      fputs(answer, stderr);
      return 1;
    }
  }
  printf("%lu\n", asked_for);
  return 0;
}
