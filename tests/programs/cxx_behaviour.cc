// What C++ promises of operator new. A program with -DPROGRAM, else a plugin for plugin_host.c.
#include <malloc.h>

#include <new>
#include <string>
#include <vector>

#include "stats.h"

static int called;
static void give_up() {
  if (++called == 3) std::set_new_handler(nullptr);
}
static void throw_own() { throw std::bad_alloc(); }

template <class Ask>
static void show(const char* what, size_t size, Ask ask) {
  const poireau_stats before = stats_now();
  const char* how = "null";
  try {
    if (void* got = ask()) {
      how = "memory";
      const poireau_stats after = stats_now();
      if (after.sample_period == 1 && after.samples - before.samples != 1)
        printf("%s: counted %lu times\n", what, after.samples - before.samples);
      memset(got, 7, size != 0);
      if (strstr(what, "[]"))
        operator delete[](got);
      else
        operator delete(got);
    }
  } catch (const std::bad_alloc&) {
    how = "bad_alloc";
  }
  printf("%s: %s, %d handler calls\n", what, how, called);
  called = 0;
}

extern "C" int run() {
  volatile size_t huge = size_t(-1) / 2 - 100, small = 100;
  for (auto* handler : {(void (*)()) nullptr, &give_up, &throw_own})
    for (size_t size : {size_t{0}, size_t{small}, size_t{huge}, ~size_t{0}}) {
      auto set = [&] { std::set_new_handler(handler); };
      set(), show("new", size, [&] { return operator new(size); });
      set(), show("new[]", size, [&] { return operator new[](size); });
      set(), show("new nothrow", size, [&] { return operator new(size, std::nothrow); });
      set(), show("new[] nothrow", size, [&] { return operator new[](size, std::nothrow); });
      for (size_t alignment : {0, 1, 3, 8, 64, 8192}) {
        const std::align_val_t align{alignment};
        if ((alignment == 0 && size != small) || ~size == 0) continue;  // libstdc++ rounds the latter up to 0
        set(), show("new align", size, [&] { return operator new(size, align); });
        set(), show("new[] align", size, [&] { return operator new[](size, align); });
        set(), show("new align nothrow", size, [&] { return operator new(size, align, std::nothrow); });
        set(), show("new[] align nothrow", size, [&] { return operator new[](size, align, std::nothrow); });
      }
    }
  std::set_new_handler(nullptr);
  try {
    std::vector<std::string>(small, "a string that is too long to be stored in place").resize(huge / 64);
  } catch (const std::exception& error) {
    puts("an exception out of the library");
  }
  operator delete(nullptr), operator delete[](nullptr, size_t{5});
  return 0;
}

#ifdef PROGRAM
int main() { return run(); }
#endif
