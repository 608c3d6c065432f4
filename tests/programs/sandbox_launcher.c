/* sandbox_launcher PROGRAM ARGUMENTS...: executes it where it may do what a bare program needs to start and allocate.
 */
#include "sandbox.h"

int main(int count, char** argument) {
  const int allowed[] = {FOR_MALLOC, FOR_EXEC, -1};
  if (count < 2 || sandbox_enter("prctl", allowed)) return 9;
  execv(argument[1], argument + 1);
  return 8;
}
