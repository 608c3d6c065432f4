#include <dlfcn.h>
#include <link.h>

#include "config/options.h"
#include "preload/real.h"
#include "preload/sampled.h"
#include "preload/stack.h"
#include "preload/stats.h"

// Loading that would have others free what is ours. These look, then jump on: the loader takes RUNPATH and the
// namespace from the return address, which must stay the program's.

#define HOOK_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace poireau;

namespace {

/// A library bound deeply frees with libc's free what others got from ours (the same breaks every preloaded allocator).
int without_deepbind(int mode) noexcept {
  if ((mode & RTLD_DEEPBIND) == 0) return mode;
  if (options.deepbind.load(std::memory_order_relaxed) == Deepbind::keep) {
    sampled::close_homes();
    return mode;
  }
  stats.deepbinds.fetch_add(1, std::memory_order_relaxed);
  return mode & ~RTLD_DEEPBIND;
}

/// How many files have been, ever.
unsigned long long unloaded() noexcept {
  unsigned long long count = 0;
  const auto take = [](dl_phdr_info* first, size_t, void* to) {
    *static_cast<unsigned long long*>(to) = first->dlpi_subs;
    return 1;
  };
  dl_iterate_phdr(take, &count);
  return count;
}

/// Makes a call that may unload a library. What is learnt of its code until it is gone is forgotten too.
template <typename Call>
int unloading(Call&& call) noexcept {
  lifecycle::be_resolved();
  stack::forget_code();
  const unsigned long long before = unloaded();
  const int result = call();
  stack::forget_code();
  if (unloaded() != before) sampled::forget_modules();
  return result;
}

}  // namespace

HOOK_EXPORT void* dlopen(const char* path, int mode) {
  lifecycle::be_resolved();
  return real.dlopen(path, without_deepbind(mode));
}

HOOK_EXPORT void* dlmopen(long link_namespace, const char* path, int mode) {
  lifecycle::be_resolved();
  if (link_namespace == LM_ID_BASE) return real.dlmopen(link_namespace, path, without_deepbind(mode));
  stats.namespaces.fetch_add(1, std::memory_order_relaxed);
  sampled::close_homes();
  return real.dlmopen(link_namespace, path, mode);
}

HOOK_EXPORT int dlclose(void* library) {
  return unloading([&] { return real.dlclose(library); });
}

// It lets go of the library that knows the character set.
HOOK_EXPORT int iconv_close(void* conversion) {
  return unloading([&] { return real.iconv_close(conversion); });
}
