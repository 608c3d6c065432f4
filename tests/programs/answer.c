#include <stdlib.h>
#include <string.h>
static char* made;
__attribute__((constructor)) static void begin(void) { made = strdup("made at load"); }
__attribute__((destructor)) static void end(void) { free(made); }
int answer(void) { return made ? ANSWER : 0; }
