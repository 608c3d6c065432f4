/* Takes malloc's address: where the program is not position-independent, that is a stub in it under the name malloc. */
#include <stdlib.h>

void* (*volatile ask)(size_t) = malloc;
void (*volatile give)(void*) = free;

int main(void) {
  for (int i = 0; i < 100; ++i) give(ask(i));
  return 0;
}
