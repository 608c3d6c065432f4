/* An auditor lives in a namespace of its own, with a libc of its own, and starts before anything else. */
#define _GNU_SOURCE
#include <link.h>
#include <stdlib.h>
#include <string.h>

unsigned la_version(unsigned version) {
  free(memset(malloc(1000), 1, 1000));
  return version;
}
unsigned la_objopen(struct link_map* map, Lmid_t id, uintptr_t* cookie) {
  free(strdup(map->l_name));
  *cookie = (uintptr_t)malloc(10);
  return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}
