// Does as it is told on standard input, and says "done": "keep N SIZE" keeps so many more blocks, "churn BYTES" takes
// and frees so many bytes by 4 KiB, "slowly" goes on doing so, 1 MiB every 10 ms, until it is killed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void churn(size_t bytes) {
  for (size_t done = 0; done < bytes; done += 4096) {
    void* volatile block = malloc(4096);
    free(block);
  }
}

int main(void) {
  char line[100];
  while (fgets(line, sizeof line, stdin) != NULL) {
    size_t number = 0, size = 0;
    if (sscanf(line, "keep %zu %zu", &number, &size) == 2) {
      for (size_t i = 0; i < number; ++i) {
        void* volatile block = malloc(size);
        (void)block;
      }
    } else if (sscanf(line, "churn %zu", &number) == 1) {
      churn(number);
    }
    puts("done");
    fflush(stdout);
    while (strcmp(line, "slowly\n") == 0) {
      churn(1 << 20);
      usleep(10000);
    }
  }
  return 0;
}
