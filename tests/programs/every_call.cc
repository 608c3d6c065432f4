// Calls every function of the malloc family and every operator new and delete; says which were not counted just once.
#include <dlfcn.h>
#include <malloc.h>

#include <new>

#include "stats.h"

static int calls, wrong;
static size_t sizes[] = {0, 1, 24, 100, 4096, 300000};

template <class Ask>
static void* expect(const char* name, size_t size, uint64_t times, Ask ask) {
  const poireau_stats before = stats_now();
  void* got = ask();
  const poireau_stats after = stats_now();
  const uint64_t samples = after.samples - before.samples, sampled = after.sampled_bytes - before.sampled_bytes,
                 counted = after.counted_bytes - before.counted_bytes;
  const uint64_t weight = times * (size + (size == 0));
  ++calls;
  if (samples != times || sampled != times * size || counted != weight) {
    ++wrong;
    printf("%s(%zu): %lu samples of %lu bytes, %lu counted\n", name, size, samples, sampled, counted);
  }
  return got;
}
#define ASK(name, call, ...) \
  release = expect(name, size, 1, [&]() -> void* { return call; }), free_all([&](void* p) { __VA_ARGS__; })

// Any argument: without pvalloc, which jemalloc lacks (libc's is no match for its free).
int main(int argc, char**) {
  auto* cfree_ = (void (*)(void*))dlsym(RTLD_DEFAULT, "cfree");
  auto* free_sized_ = (void (*)(void*, size_t))dlsym(RTLD_DEFAULT, "free_sized");
  auto* free_aligned_sized_ = (void (*)(void*, size_t, size_t))dlsym(RTLD_DEFAULT, "free_aligned_sized");
  void* release = nullptr;
  auto free_all = [&](auto how) {
    expect("a release", 0, 0, [&] {
      how(release);
      return nullptr;
    });
  };
  const std::align_val_t align{64};
  auto posix = [](size_t a, size_t n) {
    void* p = nullptr;
    return posix_memalign(&p, a, n) == 0 ? p : nullptr;
  };
  for (int round = 0; round < 3; ++round)
    for (size_t size : sizes) {
      ASK("malloc", malloc(size), free(p));
      ASK("malloc", malloc(size), cfree_ ? cfree_(p) : free(p));
      ASK("malloc", malloc(size), free_sized_ ? free_sized_(p, size) : free(p));
      ASK("calloc", calloc(size, 1), free(p));
      ASK("realloc", realloc(nullptr, size), free(p));
      if (size != 0) {
        void* old = malloc(7);
        ASK("realloc", realloc(old, size), free(p));
        old = malloc(size);
        ASK("reallocarray", reallocarray(old, size, 1), free(p));
      }
      ASK("reallocarray", reallocarray(nullptr, size, 1), free(p));
      ASK("memalign", memalign(64, size), free(p));
      ASK("memalign", memalign(8, size), free(p));
      ASK("aligned_alloc", aligned_alloc(64, size), free_aligned_sized_ ? free_aligned_sized_(p, 64, size) : free(p));
      ASK("posix_memalign", posix(4096, size), free(p));
      ASK("posix_memalign", posix(8, size), free(p));
      ASK("valloc", valloc(size), free(p));
      if (const size_t asked = size; argc == 1) {
        size = (size + 4095) & -4096;  // pvalloc asks for whole pages
        ASK("pvalloc", pvalloc(asked), free(p));
        size = asked;
      }
      ASK("usable", malloc(size), malloc_usable_size(p), free(p));
      ASK("new", operator new(size), operator delete(p));
      ASK("new", operator new(size), operator delete(p, size));
      ASK("new[]", operator new[](size), operator delete[](p));
      ASK("new[]", operator new[](size), operator delete[](p, size));
      ASK("new nothrow", operator new(size, std::nothrow), operator delete(p, std::nothrow));
      ASK("new[] nothrow", operator new[](size, std::nothrow), operator delete[](p, std::nothrow));
      ASK("new align", operator new(size, align), operator delete(p, align));
      ASK("new align", operator new(size, align), operator delete(p, size, align));
      ASK("new[] align", operator new[](size, align), operator delete[](p, align));
      ASK("new[] align", operator new[](size, align), operator delete[](p, size, align));
      ASK("new align nothrow", operator new(size, align, std::nothrow), operator delete(p, align, std::nothrow));
      ASK("new[] align nothrow", operator new[](size, align, std::nothrow), operator delete[](p, align, std::nothrow));
    }
  printf("%d of %d wrong\n", wrong, calls);
  return wrong != 0;
}
