// What the programs with planted leaks share: the places that ask for memory, how much and how often each does, and the
// truth about them. Sizes and rates come from the command line (scenario.json tells what they mean), draws from the
// seed.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SITES(X) X(note) X(rule) X(peer) X(entry) X(history) X(table) X(cached) X(job) X(chunk) X(request) X(buffer)
#define NUMBER(name) site_##name,
enum { SITES(NUMBER) kSites };
#define NAME(name) {#name, "", 0, 0, 0, 0},
static struct Site {
  const char *name, *function;
  int line;
  double size, rate;  // mean bytes of a block, bytes a second
  int64_t live;       // bytes
} sites[] = {SITES(NAME)};

static const double kTick = 0.005;  // seconds
static uint64_t dice;
static int tick_now, ticks;
static struct timespec started;

static inline double toss(void) {
  dice ^= dice << 13, dice ^= dice >> 7, dice ^= dice << 17;
  return (double)(dice >> 11) * 0x1p-53;
}

static inline size_t some_size(int site) { return (size_t)(sites[site].size * (0.5 + toss())); }

// How many blocks this tick has for a site, `factor` times as many as its rate says.
static inline int due(int site, double factor) {
  return (int)(sites[site].rate * kTick * factor / sites[site].size + toss());
}

static inline double progress(void) { return (double)tick_now / ticks; }

// The size of the next chunk of a pool that doubles while the load grows; 0: it is large enough.
static inline size_t pool_wants(double capacity, int chunks) {
  const bool more = progress() < 0.4 && sites[site_chunk].rate * tick_now * kTick > capacity;
  return more ? (size_t)sites[site_chunk].size << chunks : 0;
}

// The request is made on the line that this stands on.
#define AT(site, bytes, request) (came(site_##site, __func__, __LINE__, (int64_t)(bytes)), (request))
static inline void came(int site, const char* function, int line, int64_t bytes) {
  sites[site].function = function, sites[site].line = line, sites[site].live += bytes;
}
static inline void went(int site, int64_t bytes) { sites[site].live -= bytes; }

static inline double seconds_since_start(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)(now.tv_sec - started.tv_sec) + (double)(now.tv_nsec - started.tv_nsec) * 1e-9;
}

// SEED SECONDS and a size and a rate for each site.
static inline void begin(int count, char** arguments) {
  if (count != 3 + 2 * kSites) exit(2);
  dice = strtoull(arguments[1], NULL, 10) * 0x9e3779b97f4a7c15 + 1;
  ticks = (int)(atof(arguments[2]) / kTick);
  for (int i = 0; i < kSites; ++i)
    sites[i].size = atof(arguments[3 + 2 * i]), sites[i].rate = atof(arguments[4 + 2 * i]);
  clock_gettime(CLOCK_MONOTONIC, &started);
}

// Waits for the next tick; false: that was the last one.
static inline bool next_tick(void) {
  const double ahead = ++tick_now * kTick - seconds_since_start();
  const struct timespec left = {0, (long)(ahead * 1e9)};
  if (ahead > 0) nanosleep(&left, NULL);
  return tick_now < ticks;
}

static inline void tell_truth(void) {
  for (const struct Site* site = sites; site < sites + kSites; ++site)
    printf("{\"site\": \"%s\", \"function\": \"%s\", \"line\": %d, \"seconds\": %.6f, \"live\": %lld}\n", site->name,
           site->function, site->line, seconds_since_start(), (long long)site->live);
  fflush(stdout);
}

#ifdef __cplusplus
}
#endif
