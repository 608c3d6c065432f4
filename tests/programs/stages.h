/* One use of malloc, at a stage of a process's life; its block outlives the stage. Says so with write(2) alone. */
#pragma once
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void* kept[64];
static int stages;
static void stage(const char* name) {
  for (int i = 0; i < stages; i += 2) kept[i] = realloc(kept[i], 5000 + (size_t)i), memset(kept[i], 1, 5000);
  char* text = (char*)malloc(strlen(name) + 2);
  text = (char*)realloc(strcat(strcpy(text, name), "\n"), 300);
  void* others[] = {calloc(10, 10), memalign(64, 100), malloc(100000)};
  for (int i = 0; i < 100; ++i) others[0] && ((char*)others[0])[i] ? abort() : (void)0;
  /* tcmalloc says 0 before its own constructor */
  if (!text || !others[0] || (size_t)others[1] % 64 || !others[2] || malloc_usable_size(text) - 1 < 299) abort();
  for (int i = 0; i < 3; ++i) free(others[i]);
  kept[stages++] = text;
  if (write(1, text, strlen(text)) < 0) abort();
}
