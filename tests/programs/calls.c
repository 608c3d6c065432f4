// Makes calls that a test knows one by one: "alone", or "handed": two threads make blocks, two others resize and free
// them.
#define _GNU_SOURCE
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kRoom = 64, kBlocks = 3000, kPairs = 2 };
static void* box[kRoom];
static int held, ended;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void* make(void* number) {
  for (int i = 0; i < kBlocks; ++i) {
    void* block = i % 3 ? malloc(10 + i) : calloc(1, 20 + (size_t)number);
    if (i % 7 == 0) block = realloc(block, 5000);
    pthread_mutex_lock(&lock);
    while (held == kRoom) pthread_cond_wait(&changed, &lock);
    box[held++] = block;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void* take(void* unused) {
  for (;;) {
    pthread_mutex_lock(&lock);
    while (held == 0 && !ended) pthread_cond_wait(&changed, &lock);
    void* block = held == 0 ? NULL : box[--held];
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (block == NULL) return unused;
    free(realloc(block, 6000));
  }
}

static void handed(void) {
  pthread_t makers[kPairs], takers[kPairs];
  for (size_t i = 0; i < kPairs; ++i) {
    pthread_create(&makers[i], NULL, make, (void*)i);
    pthread_create(&takers[i], NULL, take, NULL);
  }
  for (int i = 0; i < kPairs; ++i) pthread_join(makers[i], NULL);
  pthread_mutex_lock(&lock);
  ended = 1;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < kPairs; ++i) pthread_join(takers[i], NULL);
}

static void alone(void) {
  char* a = malloc(1000);
  char* b = calloc(3, 7);
  void *c, *d = aligned_alloc(64, 640), *e = memalign(4096, 50), *f = malloc(0);
  if (posix_memalign(&c, 256, 300) != 0) _exit(1);
  memset(a, 1, 1000);
  a = realloc(a, 200000);
  a = realloc(a, 100);
  free(b);
  b = realloc(NULL, 77);
  b = reallocarray(b, 10, 9);
  free(c);
  c = realloc(d, 0);
  free(e);
  free(f);
  free(a);
  for (int i = 0; i < 1000; ++i) free(malloc(i));
  free(b);
  malloc(123);  // stays
}

int main(int count, char** words) {
  (void)count;
  if (strcmp(words[1], "alone") == 0)
    alone();
  else
    handed();
  return 0;
}
