// The least a sampling preload can do: malloc counts down and jumps, free compares and jumps. It
// samples nothing; it is the yardstick for the hot path of libpoireau.so.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

extern void* __libc_malloc(size_t);
extern void* __libc_calloc(size_t, size_t);
extern void* __libc_realloc(void*, size_t);
extern void __libc_free(void*);

struct functions {
  void* (*malloc)(size_t);
  void* (*calloc)(size_t, size_t);
  void* (*realloc)(void*, size_t);
  void (*free)(void*);
};

static const uint64_t kReload = 32 << 20;
static const int kRangeShift = 44;  // a 16 TiB range where neither heap nor mmap ever lies
static const uintptr_t kRange = 2;

static __thread uint64_t left __attribute__((tls_model("initial-exec")));

// The next allocator, found by the first call: over jemalloc, a block that a constructor before ours
// got from glibc would later be freed into jemalloc.
static struct functions real;

static void resolve(void) {
  // dlsym itself may allocate.
  real = (struct functions){__libc_malloc, __libc_calloc, __libc_realloc, __libc_free};
  struct functions next = {
      (void* (*)(size_t))dlsym(RTLD_NEXT, "malloc"),
      (void* (*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc"),
      (void* (*)(void*, size_t))dlsym(RTLD_NEXT, "realloc"),
      (void (*)(void*))dlsym(RTLD_NEXT, "free"),
  };
  real = next;
}

static void* first_malloc(size_t size) {
  resolve();
  return real.malloc(size);
}

static void* first_calloc(size_t count, size_t size) {
  resolve();
  return real.calloc(count, size);
}

static void* first_realloc(void* ptr, size_t size) {
  resolve();
  return real.realloc(ptr, size);
}

static void first_free(void* ptr) {
  resolve();
  real.free(ptr);
}

static struct functions real = {first_malloc, first_calloc, first_realloc, first_free};

static inline bool charge(uint64_t size) {
  bool due;
  __asm__("subq %2, %0" : "+m"(left), "=@ccb"(due) : "r"(size));
  return __builtin_expect(due, false);
}

static inline bool in_range(void* ptr) { return __builtin_expect((uintptr_t)ptr >> kRangeShift == kRange, false); }

__attribute__((cold, noinline)) static void* cold_malloc(size_t size) {
  left = kReload;
  return real.malloc(size);
}

__attribute__((cold, noinline)) static void* cold_calloc(size_t count, size_t size) {
  left = kReload;
  return real.calloc(count, size);
}

__attribute__((cold, noinline)) static void* cold_realloc(void* ptr, size_t size) {
  left = kReload;
  return real.realloc(ptr, size);
}

__attribute__((cold, noinline)) static void cold_free(void* ptr) {
  left = kReload;
  real.free(ptr);
}

void* malloc(size_t size) {
  if (charge(size)) return cold_malloc(size);
  return real.malloc(size);
}

void* calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes) || charge(bytes)) return cold_calloc(count, size);
  return real.calloc(count, size);
}

void* realloc(void* ptr, size_t size) {
  if (in_range(ptr) || charge(size)) return cold_realloc(ptr, size);
  return real.realloc(ptr, size);
}

void free(void* ptr) {
  if (in_range(ptr)) return cold_free(ptr);
  real.free(ptr);
}
