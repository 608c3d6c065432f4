/* injector NUMBER SEED: NUMBER blocks of mixed sizes come and go; some are freed early and read later, some are written
 * or read one byte before their start. Says for each size and kind how many there were, how many were sampled and how
 * many guarded, and how many of the errors were found; at the end, all that were counted. */
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload/poireau.h"
#pragma weak poireau_get_stats

enum kind { RIGHT, READ_AFTER_FREE, WRITE_BEFORE, READ_BEFORE, KINDS };
static const char* const kind_names[] = {"right", "read after free", "write before", "read before"};
static const size_t sizes[] = {16, 100, 1000, 5000, 20000, 100000};
enum { SIZES = sizeof sizes / sizeof *sizes, KEPT = 512 };

static struct tally { unsigned long trials, sampled, guarded, found; } tallies[SIZES][KINDS];

/* What is freed, or read again, after as many blocks more. */
static struct kept {
  unsigned char* block;
  struct tally* tally;
  size_t offset;
} ring[KEPT];

static uint64_t state;
static volatile unsigned char sink;

static uint64_t next_random(void) { /* splitmix64 */
  uint64_t z = state += 0x9e3779b97f4a7c15;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

static struct poireau_stats stats(void) {
  struct poireau_stats now;
  memset(&now, 0, sizeof now);
  if (poireau_get_stats) poireau_get_stats(&now, offsetof(struct poireau_stats, unplaced));
  return now;
}
static uint64_t errors(void) { return stats().errors; }

static void end(const struct kept* old) {
  if (old->block == NULL) return;
  const uint64_t before = errors();
  if ((old->tally - tallies[0]) % KINDS == READ_AFTER_FREE)
    sink = old->block[old->offset];
  else
    free(old->block);
  old->tally->found += errors() > before;
}

int main(int count, char** argument) {
  if (count != 3) return 9;
  /* What is freed stays readable beneath us. */
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, INT32_MAX);
  state = strtoull(argument[2], NULL, 0);
  for (long left = atol(argument[1]); left > 0; --left) {
    const uint64_t random = next_random();
    const unsigned share = random >> 32 & 15;
    const enum kind kind = share < 4 ? RIGHT : (enum kind)(READ_AFTER_FREE + (share - 4) / 4);
    const size_t size = sizes[random % SIZES];
    struct tally* const tally = &tallies[random % SIZES][kind];

    const struct poireau_stats before = stats();
    unsigned char* const block = malloc(size);
    const struct poireau_stats after = stats();
    memset(block, 1, size);
    ++tally->trials;
    tally->sampled += after.placed - before.placed;
    tally->guarded += after.guarded > before.guarded;

    struct kept now = {block, tally, next_random() % size};
    switch (kind) {
      case READ_AFTER_FREE:
        free(block);
        break;
      case WRITE_BEFORE: /* the highest byte of the size that glibc keeps there: zero in any case */
        ((volatile unsigned char*)block)[-1] = 0;
        free(block);
        break;
      case READ_BEFORE:
        sink = ((volatile unsigned char*)block)[-1];
        free(block);
        break;
      default:
        break;
    }
    if (kind == WRITE_BEFORE || kind == READ_BEFORE) {
      tally->found += errors() > after.errors;
      continue;
    }
    struct kept* const place = &ring[next_random() % KEPT];
    const struct kept old = *place;
    *place = now;
    end(&old);
  }
  for (int i = 0; i < KEPT; ++i) end(&ring[i]);
  for (int s = 0; s < SIZES; ++s)
    for (int k = 0; k < KINDS; ++k)
      printf("%s,%zu,%lu,%lu,%lu,%lu\n", kind_names[k], sizes[s], tallies[s][k].trials, tallies[s][k].sampled,
             tallies[s][k].guarded, tallies[s][k].found);
  printf("all,0,0,0,0,%llu\n", (unsigned long long)errors());
  return 0;
}
