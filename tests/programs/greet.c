/* Greets its arguments, with memory; status 7. With "empty environment", executes itself with only LD_PRELOAD set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int count, char** argument) {
  if (count == 2 && !strcmp(argument[1], "empty environment")) {
    static char preload[10000] = "LD_PRELOAD=";
    char* environment[] = {
        strcat(preload, getenv("LD_PRELOAD")), "", "=", "POIREAU_CONFIG", "POIREAU_LOG", "no equals sign", NULL};
    char* again[] = {argument[0], "x", NULL};
    execve(argument[0], again, environment);
  }
  char* line = strdup("hello");
  for (int i = 1; i < count; ++i)
    line = strcat(strcat(realloc(line, strlen(line) + strlen(argument[i]) + 2), " "), argument[i]);
  puts(line);
  free(line);
  return 7;
}
