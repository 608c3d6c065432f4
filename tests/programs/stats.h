/* What Poireau counted, from inside a program that also runs without it. */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "preload/poireau.h"
#pragma weak poireau_get_stats
#pragma weak poireau_version

static inline struct poireau_stats stats_now(void) {
  struct poireau_stats now;
  memset(&now, 0, sizeof now);
  if (poireau_get_stats) poireau_get_stats(&now, sizeof now);
  return now;
}
