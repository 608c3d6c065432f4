/* ledger FILE SEED CALLS THREADS CHILDREN [wait]: random allocations at 24 places in the program, and in FILE, mapped,
 * the truth about each place of each process and thread. Half of CALLS come before the threads, and children are forked
 * meanwhile; with "wait" the first half goes on until a byte can be read. Allocates nothing else itself. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kSites = 24, kHistories = 16, kBlocks = 2048 };

struct site {
  uint64_t bytes, calls, live_bytes, live;
  double byte_seconds; /* of live blocks: less those from `began` to their births */
};
struct history {
  uint64_t process, thread, ended; /* since 1970 */
  struct site site[kSites];
};
static struct ledger {
  uint64_t began;         /* the program, in nanoseconds since 1970 */
  uint64_t begin[kSites]; /* of each place's code; they are as far apart as the next one */
  struct history history[kHistories];
} * ledger;

struct block {
  void* at;
  size_t size;
  int site;
};
static struct block blocks[kHistories][kBlocks];
static uint64_t dice[kHistories];
static long calls;

static uint64_t toss(int who) {
  uint64_t bits = dice[who] += 0x9e3779b97f4a7c15;
  bits = (bits ^ (bits >> 30)) * 0xbf58476d1ce4e5b9;
  bits = (bits ^ (bits >> 27)) * 0x94d049bb133111eb;
  return bits ^ (bits >> 31);
}

static uint64_t since_1970(void) {
  struct timespec time;
  clock_gettime(CLOCK_REALTIME, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static double now(void) { return (double)(since_1970() - ledger->began) * 1e-9; }

/* `keep` lies behind the call, which would be a jump otherwise. */
#define SITE(n)                                                                       \
  __attribute__((noinline, noclone)) static void* place_##n(void* old, size_t size) { \
    void* volatile keep = old == NULL ? malloc(size) : realloc(old, size);            \
    return keep;                                                                      \
  }
/* clang-format off */
SITE(0) SITE(1) SITE(2) SITE(3) SITE(4) SITE(5) SITE(6) SITE(7) SITE(8) SITE(9) SITE(10) SITE(11) SITE(12)
SITE(13) SITE(14) SITE(15) SITE(16) SITE(17) SITE(18) SITE(19) SITE(20) SITE(21) SITE(22) SITE(23)
    /* clang-format on */
    static void* (*const places[kSites])(void*, size_t) = {place_0,  place_1,  place_2,  place_3,  place_4,  place_5,
                                                           place_6,  place_7,  place_8,  place_9,  place_10, place_11,
                                                           place_12, place_13, place_14, place_15, place_16, place_17,
                                                           place_18, place_19, place_20, place_21, place_22, place_23};

/* Places differ in what they ask for: place 0 for blocks of one size, place 1 for any up to twice as much, place 2 now
 * and then for one that is a thousand times as large; and so on, with other sizes. */
static size_t size_at(int site, int who) {
  const size_t mean = (size_t)16 << site / 4;
  if (site % 3 == 0) return mean;
  if (site % 3 == 2 && toss(who) % 1000 == 0) return 1000 * mean;
  return 1 + toss(who) % (2 * mean);
}

/* Births and deaths are timed just before they happen. */
static void end_of(struct history* history, struct block* block) {
  struct site* site = &history->site[block->site];
  site->live_bytes -= block->size;
  site->live -= 1;
  site->byte_seconds += (double)block->size * now();
}

static void do_one(int who) {
  struct history* history = &ledger->history[who];
  struct block* block = &blocks[who][toss(who) % kBlocks];
  if (block->at != NULL && toss(who) % 4 != 0) {
    end_of(history, block);
    free(block->at);
    block->at = NULL;
    return;
  }
  /* The first ones are asked most often. */
  const int site = (int)(toss(who) % kSites * (toss(who) % kSites) / kSites);
  const size_t size = size_at(site, who);
  if (block->at != NULL) end_of(history, block);
  const double born = now();
  *block = (struct block){places[site](block->at, size), size, site};
  struct site* account = &history->site[site];
  account->bytes += size;
  account->calls += 1;
  account->live_bytes += size;
  account->live += 1;
  account->byte_seconds -= (double)size * born;
}

static void end(int who) { ledger->history[who].ended = since_1970(); }

static void* work(void* which) {
  const int who = (int)(intptr_t)which;
  ledger->history[who].process = (uint64_t)getpid();
  ledger->history[who].thread = (uint64_t)gettid();
  for (long i = 0; i < calls; ++i) do_one(who);
  end(who);
  return NULL;
}

/* A child has its parent's blocks, and those alone: what they lived before is its parent's. */
static void be_child(int who) {
  struct history* history = &ledger->history[who];
  memcpy(blocks[who], blocks[0], sizeof blocks[0]);
  const double since = now();
  for (int i = 0; i < kBlocks; ++i) {
    if (blocks[who][i].at == NULL) continue;
    struct site* site = &history->site[blocks[who][i].site];
    site->live_bytes += blocks[who][i].size;
    site->live += 1;
    site->byte_seconds -= (double)blocks[who][i].size * since;
  }
  work((void*)(intptr_t)who);
  _exit(0);
}

int main(int count, char** argument) {
  const int file = open(argument[1], O_RDWR | O_CREAT, 0600), wait_for_it = count > 6;
  if (ftruncate(file, sizeof *ledger) != 0) return 9;
  ledger = mmap(NULL, sizeof *ledger, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (ledger == MAP_FAILED) return 9;
  ledger->began = since_1970();
  for (int i = 0; i < kSites; ++i) ledger->begin[i] = (uint64_t)places[i];
  for (int i = 0; i < kHistories; ++i) dice[i] = strtoull(argument[2], NULL, 0) * kHistories + (uint64_t)i;
  calls = strtol(argument[3], NULL, 0) / 2;
  const int threads = atoi(argument[4]), children = atoi(argument[5]);

  ledger->history[0].process = ledger->history[0].thread = (uint64_t)getpid();
  for (int child = 0; child <= children; ++child) {
    for (long i = 0; i < calls / (children + 1); ++i) do_one(0);
    if (child < children && fork() == 0) be_child(1 + child);
  }
  struct pollfd input = {.fd = 0, .events = POLLIN};
  while (wait_for_it && poll(&input, 1, 0) == 0)
    for (int i = 0; i < 256; ++i) do_one(0);
  pthread_t running[kHistories];
  for (intptr_t i = 0; i < threads; ++i) pthread_create(&running[i], NULL, work, (void*)(1 + children + i));
  for (long i = 0; i < calls; ++i) do_one(0);
  for (int i = 0; i < threads; ++i) pthread_join(running[i], NULL);
  for (int i = 0; i < children; ++i) wait(NULL);
  end(0);
  return 0;
}
