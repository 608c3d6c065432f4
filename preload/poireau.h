#ifndef POIREAU_H
#define POIREAU_H
/* What a program may ask the Poireau that it runs under. Link with nothing: declare these weak, or use dlsym, and
 * they are there exactly when libpoireau.so is preloaded. Programs linked with libpoireau.a always have them. */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Why a sample got no home: a sandbox, the program's limits, no memory, a size, alignment or function that
 * can't have one, or others that would free it behind our back (dlmopen). */
enum {
  POIREAU_DROP_SANDBOX,
  POIREAU_DROP_LIMIT,
  POIREAU_DROP_MEMORY,
  POIREAU_DROP_KIND,
  POIREAU_DROP_OTHERS,
  POIREAU_DROPS
};
/* What pointers point at that system calls are given. */
enum {
  POIREAU_POINTER_STACK, /* the calling thread's */
  POIREAU_POINTER_DATA,  /* of the program or a library */
  POIREAU_POINTER_HEAP,  /* anywhere else */
  POIREAU_POINTER_HOME,  /* a sampled or protected block, live or freed */
  POIREAU_POINTERS
};
/* Sizes from 2^(n-1) up to below 2^n bytes; class 0 is size 0. */
enum { POIREAU_SIZE_CLASSES = 48 };

struct poireau_stats {
  uint64_t samples;       /* requests picked, and granted */
  uint64_t sampled_bytes; /* what those asked for */
  uint64_t counted_bytes; /* all bytes requested on their threads up to each one's last sample */
  uint64_t early;         /* requests served before the options were known: never sampled */
  uint64_t dropped;       /* picked, but nothing could be recorded */
  uint64_t generation;    /* forks between the executed process and this one */
  uint64_t deepbinds;     /* dlopen(RTLD_DEEPBIND) done without the flag */
  uint64_t namespaces;    /* dlmopen into a namespace of its own */
  uint64_t sample_period; /* in force now; 0: off */
  uint64_t run_id[2];     /* 128 random bits of this process */
  uint64_t live;          /* sampled blocks that have homes now */
  uint64_t live_bytes;
  uint64_t guarded;                                       /* of those, with guard pages */
  uint64_t placed;                                        /* sampled blocks that ever had homes */
  uint64_t errors;                                        /* memory errors found */
  uint64_t stackless;                                     /* stacks that the table of stacks had no room for */
  uint64_t cycles;                                        /* of the processor, spent on samples */
  uint64_t trace_bytes;                                   /* on disk */
  uint64_t trace_dropped;                                 /* events that found no room there when they came */
  uint64_t trace_lost;                                    /* births and deaths that were never written */
  uint64_t unplaced[POIREAU_DROPS][POIREAU_SIZE_CLASSES]; /* samples without a home, by cause and size */
  uint64_t overlong_cycles; /* of `cycles`, what single uses took beyond some 50 us: mostly waits for a processor */
};

/* Fills the first `size` bytes of `out`; returns how many it knows. Takes no lock and no memory. */
size_t poireau_get_stats(struct poireau_stats* out, size_t size);

/* "0.1.0" */
const char* poireau_version(void);

#ifdef __cplusplus
}
#endif
#endif
