/* asks CASE: what a program may ask Poireau, and tell it (poireau.h). Prints what it is answered. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stats.h"
#pragma weak poireau_find_block
#pragma weak poireau_pool_create
#pragma weak poireau_pool_allocated
#pragma weak poireau_pool_freed
#pragma weak poireau_pool_destroy
#pragma weak poireau_phase
#pragma weak poireau_keep

static void* volatile hidden; /* from the compiler: it may know what free does */
static int is(const char* a, const char* b) { return strcmp(a, b) == 0; }

static void describe(const char* what, const void* address) {
  static const char* const kOrigins[] = {"sampled", "protected", "of a pool"};
  struct poireau_block block;
  if (!poireau_find_block(address, &block))
    printf("%s: nothing\n", what);
  else
    printf("%s: %s %s, %lu bytes, at %ld\n", what, block.freed ? "freed" : "live", kOrigins[block.origin],
           (unsigned long)block.size, (long)((const char*)address - (const char*)block.address));
}

static void blocks(void) {
  char* block = hidden = malloc(24);
  int local;
  describe("first byte", block);
  describe("last byte", block + 23);
  free(block);
  describe("after free", hidden);
  describe("the stack", &local);
  describe("a literal", "text");
}

/* Blocks that share memory one after the other say so; those that don't, don't. */
static void identities(void) {
  enum { MANY = 20000 };
  struct poireau_block block;
  static uint64_t seen[MANY];
  int same = 0;
  for (int i = 0; i < MANY; ++i) {
    free(hidden = malloc(48));
    if (!poireau_find_block(hidden, &block)) exit(2);
    seen[i] = block.identity;
  }
  for (int i = 1; i < MANY; ++i) same += seen[i] == seen[0];
  char *one = malloc(48), *other = malloc(48);
  struct poireau_block first, second;
  if (!poireau_find_block(one, &first) || !poireau_find_block(other, &second)) exit(3);
  printf("%s, %s\n", same > 0 ? "memory comes again" : "no memory twice",
         first.identity != second.identity ? "two live ones differ" : "two live ones are one");
}

static void pool(void) {
  char* memory = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int both[2];
  describe("before", memory);
  if (pipe(both) || poireau_pool_create(memory, 1 << 16)) exit(2);
  describe("empty", memory);
  poireau_pool_allocated(memory + 64, 40);
  poireau_pool_allocated(memory + 104, 8);
  describe("object", memory + 64);
  describe("inside", memory + 103);
  describe("its neighbour", memory + 104);
  describe("behind them", memory + 112);
  printf("written: %zd\n", write(both[1], memory + 70, 10));
  poireau_pool_freed(memory + 64);
  describe("freed", memory + 100);
  printf("written: %zd\n", write(both[1], memory + 70, 10));
  poireau_pool_freed(memory + 64);
  poireau_pool_allocated(memory + 64, 200);
  describe("over both", memory + 104);
  poireau_pool_destroy(memory);
  describe("destroyed", memory + 64);
}

static void phases(void) {
  static void* live[3];
  live[0] = malloc(1000);
  poireau_phase("warmup");
  for (int i = 0; i < 100; ++i) live[1] = malloc(2000);
  poireau_phase("work");
  for (int i = 0; i < 50; ++i) live[2] = malloc(3000);
  poireau_phase(NULL);
  free(live[0]);
}

/* Two that nothing points at, of which one is meant to live. */
static void keep(void) {
  printf("%d", poireau_keep(malloc(5000)));
  hidden = malloc(7000);
  printf(" %d", poireau_keep((char*)hidden + 8));
  hidden = NULL;
  printf(" %d\n", poireau_keep((void*)&hidden));
}

static void pointers(void) {
  static char data[1];
  char stack[1];
  char* heap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  void* parts = malloc(32);
  hidden = malloc(1);
  const struct poireau_stats before = stats_now();
  write(-1, data, 1);
  write(-1, "literal", 1);
  write(-1, stack, 1);
  write(-1, heap, 1);
  write(-1, hidden, 1);
  memcpy(parts, &(struct iovec){hidden, 1}, sizeof(struct iovec));
  writev(-1, parts, 1);
  write(-1, heap, 0);
  write(-1, NULL, 1);
  const struct poireau_stats after = stats_now();
  uint64_t counts[POIREAU_POINTERS];
  for (int i = 0; i < POIREAU_POINTERS; ++i) counts[i] = after.pointers[i] - before.pointers[i];
  printf("stack %d, data %d, heap %d, home %d\n", (int)counts[POIREAU_POINTER_STACK], (int)counts[POIREAU_POINTER_DATA],
         (int)counts[POIREAU_POINTER_HEAP], (int)counts[POIREAU_POINTER_HOME]);
}

/* What of all signals arrives where a descriptor is to tell of them. */
static void signals(void) {
  sigset_t all;
  char name[64], line[256];
  sigfillset(&all);
  snprintf(name, sizeof name, "/proc/self/fdinfo/%d", signalfd(-1, &all, 0));
  FILE* told = fopen(name, "r");
  while (fgets(line, sizeof line, told))
    if (!strncmp(line, "sigmask:", 8)) fputs(line + 9, stdout);
  printf("%016lx\n", all.__val[0]);
}

int main(int count, char** argument) {
  const char* what = argument[count - 1];
  if (!poireau_find_block) {
    puts("alone");
    return 0;
  }
  if (is(what, "blocks"))
    blocks();
  else if (is(what, "identities"))
    identities();
  else if (is(what, "pool"))
    pool();
  else if (is(what, "pointers"))
    pointers();
  else if (is(what, "signals"))
    signals();
  else if (is(what, "phases"))
    phases();
  else if (is(what, "keep"))
    keep();
  else
    return 9;
  return 0;
}
