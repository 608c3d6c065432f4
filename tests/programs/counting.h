/* COUNTED(name, size, call): says so if `call`, a request of `size` bytes, was not counted exactly once. */
#pragma once
#include "stats.h"

static int calls, wrong;
#define COUNTED_TIMES(name, size, times, call)                                                                    \
  do {                                                                                                            \
    const struct poireau_stats before = stats_now();                                                              \
    call;                                                                                                         \
    const struct poireau_stats after = stats_now();                                                               \
    const unsigned long bytes = (unsigned long)(times) * (size);                                                  \
    ++calls;                                                                                                      \
    if (after.samples - before.samples != (times) || after.sampled_bytes - before.sampled_bytes != bytes) {       \
      ++wrong;                                                                                                    \
      printf("%s(%zu): %lu samples of %lu bytes\n", name, (size_t)(size), (long)(after.samples - before.samples), \
             (long)(after.sampled_bytes - before.sampled_bytes));                                                 \
    }                                                                                                             \
  } while (0)
#define COUNTED(name, size, call) COUNTED_TIMES(name, size, 1ul, call)
#define UNCOUNTED(name, call) COUNTED_TIMES(name, 0, 0ul, call)
