// A plugin with operators of its own, bound to itself; libstdc++ finds them too, when nobody stands in the way.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

static char pool[1 << 16];
static size_t used;
static int strangers;
void* operator new(size_t size) { return pool + (used += (size + 15) & -16) - ((size + 15) & -16); }
void operator delete(void* ptr) noexcept {
  if (ptr < pool || ptr >= pool + sizeof pool) ++strangers;
}
void operator delete(void* ptr, size_t) noexcept { operator delete(ptr); }

extern "C" int run() {
  {
    std::string text(100, 'x');
    for (int i = 0; i < 5; ++i) text.append(100, 'y');
  }
  printf("%d strangers\n", strangers);
  return strangers;
}
