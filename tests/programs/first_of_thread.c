/* first_of_thread N NTH: in each of N threads, is the NTH request of 16 bytes picked? */
#include <pthread.h>

#include "stats.h"

static long nth, picked;
static void* ask(void* unused) {
  for (long i = 1; i <= nth; ++i) {
    const unsigned long before = stats_now().samples;
    free(malloc(16));
    picked += i == nth && stats_now().samples != before;
  }
  return unused;
}

int main(int count, char** argument) {
  const long threads = atol(argument[1]);
  nth = atol(argument[2]);
  for (long i = 0; i < threads && count; ++i) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, ask, NULL)) return 1;
    pthread_join(thread, NULL);
  }
  printf("%ld\n", picked);
  return 0;
}
