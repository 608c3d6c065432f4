// Replaces some operators (-DNEW, -DARRAY, -DNOTHROW, -DALIGNED, -DDELETE), in the program or (-shared -DLIBRARY) in a
// library; the program (-DPROGRAM) calls every form and says which were served by the replacements.
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#ifdef PROGRAM
int news, deletes;
#else
extern int news, deletes;
#endif

alignas(64) static char pool[1 << 20];
static size_t used;
static void* take(size_t size, size_t alignment = 16) {
  ++news;
  used = (used + alignment - 1) & -alignment;
  if (size > sizeof pool - used) throw std::bad_alloc();
  return pool + (used += size) - size;
}
static void give(void* ptr) {
  ++deletes;
  if (ptr < pool || ptr >= pool + sizeof pool) free(ptr);
}
#ifdef NEW
void* operator new(size_t size) { return take(size); }
#endif
#ifdef ARRAY
void* operator new[](size_t size) { return take(size); }
#endif
#ifdef NOTHROW
void* operator new(size_t size, const std::nothrow_t&) noexcept { return take(size); }
#endif
#ifdef ALIGNED
void* operator new(size_t size, std::align_val_t align) { return take(size, size_t(align)); }
void operator delete(void* ptr, std::align_val_t) noexcept { give(ptr); }
#endif
#ifdef DELETE
void operator delete(void* ptr) noexcept { give(ptr); }
#endif

#ifdef PROGRAM
#define SHOW(name, allocate, release)                                   \
  do {                                                                  \
    news = deletes = 0;                                                 \
    void* p = allocate;                                                 \
    const int by_new = news;                                            \
    release;                                                            \
    printf("%s: %d news, %d deletes of ours\n", name, by_new, deletes); \
  } while (0)
int main() {
  const std::align_val_t align{64};
  for (int round = 0; round < 3; ++round) {
    SHOW("new", operator new(100), operator delete(p));
    SHOW("new sized", operator new(100), operator delete(p, 100));
    SHOW("new nothrow", operator new(100, std::nothrow), operator delete(p, std::nothrow));
    SHOW("new[]", operator new[](100), operator delete[](p));
    SHOW("new[] sized", operator new[](100), operator delete[](p, 100));
    SHOW("new[] nothrow", operator new[](100, std::nothrow), operator delete[](p, std::nothrow));
    SHOW("new align", operator new(100, align), operator delete(p, align));
    SHOW("new align sized", operator new(100, align), operator delete(p, 100, align));
    SHOW("new align nothrow", operator new(100, align, std::nothrow), operator delete(p, align, std::nothrow));
    SHOW("new[] align", operator new[](100, align), operator delete[](p, align));
    SHOW("new[] align nothrow", operator new[](100, align, std::nothrow), operator delete[](p, align, std::nothrow));
    SHOW("a string", new std::string(100, 'x'), delete static_cast<std::string*>(p));
  }
}
#endif
