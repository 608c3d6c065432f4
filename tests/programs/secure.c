#include <sys/auxv.h>
#include <unistd.h>

#include "stats.h"

int main(void) {
  free(malloc(100));
  printf("secure %lu, uid %d, euid %d, poireau %s\n", getauxval(AT_SECURE), getuid(), geteuid(),
         poireau_get_stats ? "there" : "absent");
  return 3;
}
