// The first sample's stack holds a frame that is too wide for a row.
#include <stdlib.h>
#include <string.h>

int main(void) {
  char wide[1 << 17];
  memset(wide, 1, sizeof wide);
  free(malloc(64 << 20));
  return wide[sizeof wide - 1] - 1;
}
