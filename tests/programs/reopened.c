/* reopened FOLDER: closes all descriptors but standard ones, gets their numbers for files of its own, allocates on
 * threads and from code that is new, and says which files don't hold what was written to them. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { kFiles = 64 };

static int compare(const void* a, const void* b) {
  free(malloc(24));
  return *(const int*)a - *(const int*)b;
}

static void* allocate(void* unused) {
  int numbers[] = {5, 3, 8, 1};
  qsort(numbers, 4, sizeof *numbers, compare);
  free(calloc(10, 10));
  free(malloc(100000));
  return unused;
}

int main(int count, char** argument) {
  int files[kFiles];
  if (count != 2 || chdir(argument[1])) return 9;
  free(malloc(1)); /* a sample before, and the first of many more after */
  closefrom(3);
  for (int i = 0; i < kFiles; ++i) {
    char name[20];
    sprintf(name, "file%d", i);
    files[i] = open(name, O_CREAT | O_EXCL | O_RDWR, 0600);
    if (files[i] < 0 || write(files[i], name, sizeof name) != sizeof name) return 8;
  }
  for (int i = 0; i < 4; ++i) {
    pthread_t thread;
    pthread_create(&thread, NULL, allocate, NULL);
    pthread_join(thread, NULL);
    allocate(NULL);
  }
  for (int i = 0; i < kFiles; ++i) {
    char name[20], found[20];
    sprintf(name, "file%d", i);
    if (pread(files[i], found, sizeof found, 0) != sizeof found || __builtin_strcmp(name, found) ||
        lseek(files[i], 0, SEEK_END) != sizeof name || fcntl(files[i], F_GETFL) != (O_RDWR | 0100000))
      printf("file %d is lost\n", i);
  }
  puts("done");
}
