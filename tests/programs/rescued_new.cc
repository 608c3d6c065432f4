// The new_handler finds memory after all: the request is granted once, and counted once.
#include <sys/resource.h>

#include <new>

#include "stats.h"

static rlimit whole;
static int called;
static void rescue() {
  ++called;
  setrlimit(RLIMIT_AS, &whole);
}

template <class Ask>
static void show(const char* what, Ask ask) {
  rlimit tight = whole;
  tight.rlim_cur = 1 << 20;
  setrlimit(RLIMIT_AS, &tight);
  const poireau_stats before = stats_now();
  void* got = ask();
  const poireau_stats after = stats_now();
  setrlimit(RLIMIT_AS, &whole);
  printf("%s: %s, %d handler calls\n", what, got ? "memory" : "null", called);
  if (after.sample_period == 1 &&
      (after.samples - before.samples != 1 || after.sampled_bytes - before.sampled_bytes != 64 << 20))
    printf("%s: counted %lu times, %lu bytes\n", what, after.samples - before.samples,
           after.sampled_bytes - before.sampled_bytes);
  operator delete(got);
  called = 0;
}

extern "C" int run() {
  getrlimit(RLIMIT_AS, &whole);
  std::set_new_handler(rescue);
  const size_t size = 64 << 20;
  const std::align_val_t align{64};
  show("new", [&] { return operator new(size); });
  show("new[]", [&] { return operator new[](size); });
  show("new nothrow", [&] { return operator new(size, std::nothrow); });
  show("new[] nothrow", [&] { return operator new[](size, std::nothrow); });
  show("new align", [&] { return operator new(size, align); });
  show("new[] align nothrow", [&] { return operator new[](size, align, std::nothrow); });
  std::set_new_handler(nullptr);
  return 0;
}

#ifdef PROGRAM
int main() { return run(); }
#endif
