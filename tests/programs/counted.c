/* counted FILE: two threads allocate and free for ever, and keep in FILE how far each has come: blocks asked for, got,
 * to be freed, freed. Block i of thread t has t + 2 * (i % 50000) + 1 bytes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct progress {
  atomic_ulong thread, asked, got, freeing, freed;
};
static struct progress* progress;

__attribute__((noreturn)) static void* work(void* which) {
  const size_t t = (size_t)which;
  struct progress* now = &progress[t];
  void* recent[8] = {0};
  now->thread = (unsigned long)gettid();
  for (size_t i = 0;; ++i) {
    void** place = &recent[i % 8];
    if (i >= 8) {
      ++now->freeing;
      free(*place);
      ++now->freed;
    }
    ++now->asked;
    *place = malloc(t + 2 * (i % 50000) + 1);
    ++now->got;
  }
}

int main(int count, char** argument) {
  const int file = open(argument[count - 1], O_RDWR);
  progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (progress == MAP_FAILED) return 9;
  pthread_t thread;
  pthread_create(&thread, NULL, work, (void*)1);
  work(NULL);
}
