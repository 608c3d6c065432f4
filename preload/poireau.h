#ifndef POIREAU_H
#define POIREAU_H
/* What a program may ask the Poireau that it runs under, and tell it. Link with nothing: declare these weak, or use
 * dlsym, and they are there exactly when libpoireau.so is preloaded. Programs linked with libpoireau.a always have
 * them. Any thread may call them at any time, but from signal handlers only where that is said. */
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
/* What pointers point at that system calls are given, counted where every call is looked at. */
enum {
  POIREAU_POINTER_STACK, /* the calling thread's */
  POIREAU_POINTER_DATA,  /* of the program or a library */
  POIREAU_POINTER_HEAP,  /* anywhere else */
  POIREAU_POINTER_HOME,  /* a sampled or protected block, live or freed */
  POIREAU_POINTERS
};
/* Why a block could not be protected: its size, no memory, no addresses, no mappings, somebody else being at it, a
 * sandbox. */
enum {
  POIREAU_REFUSAL_SIZE,
  POIREAU_REFUSAL_MEMORY,
  POIREAU_REFUSAL_ADDRESSES,
  POIREAU_REFUSAL_MAPPINGS,
  POIREAU_REFUSAL_BUSY,
  POIREAU_REFUSAL_SANDBOX,
  POIREAU_REFUSALS
};
/* Sizes from 2^(n-1) up to below 2^n bytes; class 0 is size 0. */
enum { POIREAU_SIZE_CLASSES = 48 };

/* Protection of every block (protect = all, or some callers); all zero without it. The first eight: requests, since
 * the process began. */
struct poireau_protection {
  uint64_t allocations, allocated_bytes;
  uint64_t reallocations, deallocations;
  uint64_t of_2_mib, of_1_gib;            /* requests of 2 MiB and more, of 1 GiB and more */
  uint64_t guarded;                       /* of the allocations, those too large to share pages: in guarded homes */
  uint64_t unprotected;                   /* that were to be protected, and are ordinary blocks */
  uint64_t live, live_bytes;              /* aliases: each block of shared pages has a page of addresses to itself */
  uint64_t placed;                        /* aliases there ever were */
  uint64_t open_dead, open_dead_bytes;    /* freed, and still readable */
  uint64_t closed_dead;                   /* freed and unreadable, while their neighbours live */
  uint64_t closed_with_run, closed_alone; /* how freed ones became unreadable, in all */
  uint64_t recycled;                      /* aliases whose addresses were used again, after a sweep */
  uint64_t runs, frames, mappings;        /* now */
  uint64_t arena_bytes, table_bytes;      /* memory of the blocks, and of what is known of them */
  uint64_t addresses;                     /* bytes of addresses used up */
  uint64_t sweeps, sweeps_given_up;       /* given up: a thread did not stand still */
  uint64_t swept_bytes;
  uint64_t freed, freed_bytes; /* by sweeps: nothing pointed at them */
  uint64_t kept, kept_bytes;   /* something did */
  uint64_t sweep_cycles;       /* of the processor */
  uint64_t refused[POIREAU_REFUSALS];
};

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
  uint64_t pointers[POIREAU_POINTERS]; /* given to system calls */
  struct poireau_protection protection;
};

/* Fills the first `size` bytes of `out`; returns how many it knows. Takes no lock and no memory. */
size_t poireau_get_stats(struct poireau_stats* out, size_t size);

/* "0.1.0" */
const char* poireau_version(void);

enum { POIREAU_SAMPLED, POIREAU_PROTECTED, POIREAU_OF_POOL };
struct poireau_block {
  void* address; /* its first byte */
  uint64_t size; /* as asked for */
  uint64_t
      identity;   /* of the memory it has, or had: equal for two blocks that had the same bytes one after the other */
  int32_t origin; /* POIREAU_SAMPLED, ... */
  int32_t freed;  /* 1: it has been freed, and this is what was there last */
};
/* What lies, or lay, at an address, which may be any byte of a block, or of the unused addresses next to it. Only what
 * has a home is known: every block with protect = all, otherwise those that are sampled; and objects of pools. Returns
 * 1, or 0 and leaves `out` alone. Also in signal handlers. */
int poireau_find_block(const void* address, struct poireau_block* out);

/* A pool: memory in which an allocator of the program's own places objects. While it is announced,
 * poireau_find_block tells its objects, and with protect = all system calls that are given a freed one are reported, as
 * is an object that is freed twice. Access by the program itself is not: pages of a pool stay as they are.
 * Objects begin at multiples of 8, and are smaller than 1 GiB. What is known of them takes half as much memory as those
 * pages of the pool that objects begin in. At most 64 at a time. Returns 0; -1: too many, or no memory. */
int poireau_pool_create(void* begin, size_t size);
void poireau_pool_allocated(void* object, size_t size); /* in whichever pool that is; else nothing happens */
void poireau_pool_freed(void* object);
void poireau_pool_destroy(void* begin);

/* From here on the program is in that phase; nullptr or "": in none. `--phase NAME` of the commands that take a window
 * of time looks at one. Noted in the trace. */
void poireau_phase(const char* name);

/* The block that begins there is meant to live until the process ends: `leaks` leaves it out, for as long as the trace
 * still has the file that this was noted in (trace_limit). Returns 1; 0: it has not been sampled, and leaks knows
 * nothing of it. */
int poireau_keep(const void* block);

#ifdef __cplusplus
}
#endif
#endif
