#ifndef POIREAU_H
#define POIREAU_H
/* What a program may ask the Poireau that it runs under. Link with nothing: declare these weak, or use dlsym, and
 * they are there exactly when libpoireau.so is preloaded. Programs linked with libpoireau.a always have them. */
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

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
};

/* Fills the first `size` bytes of `out`; returns how many it knows. Takes no lock and no memory. */
size_t poireau_get_stats(struct poireau_stats* out, size_t size);

/* "0.1.0" */
const char* poireau_version(void);

#ifdef __cplusplus
}
#endif
#endif
