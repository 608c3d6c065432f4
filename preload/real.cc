#include "preload/real.h"

#include <dlfcn.h>
#include <link.h>

#include <iterator>

#include "preload/module.h"

// The compiler's start files, which this library does without, would define it: whose atfork handlers ours are.
extern "C" {
[[gnu::visibility("hidden")]] extern void* __dso_handle;
constinit void* __dso_handle = &__dso_handle;

[[gnu::weak]] void __asan_init();
[[gnu::weak]] void __tsan_init();
[[gnu::weak]] void __msan_init();
[[gnu::weak]] void __hwasan_init();
[[gnu::weak]] void __lsan_init();
}

namespace poireau {

constinit Functions next{};
constinit Functions real{};

namespace {

constexpr const char* kNames[] = {
#define HOOK_ROW(shape, library, name, ...) #name,
#include "preload/rows.h"
};
static_assert(sizeof(Functions) == sizeof(void*) * std::size(kNames));

}  // namespace

void resolve() noexcept {
  auto** function = reinterpret_cast<void**>(&next);
  for (const char* name : kNames) *function++ = dlsym(RTLD_NEXT, name);
  dlerror();  // a failed lookup is no error of the program's: take the message back
}

bool reached(const char* name) noexcept {
  void* const first = dlsym(RTLD_DEFAULT, name);
  if (module_of(first).map == module_of(&real).map) return true;
  // An executable that is not position-independent may have a stub under the name, undefined but with an address, so
  // that all the program sees the same pointer; it jumps to whoever is first among the libraries, to us.
  Dl_info info;
  void* symbol = nullptr;
  return dladdr1(first, &info, &symbol, RTLD_DL_SYMENT) != 0 && symbol != nullptr &&
         static_cast<const ElfW(Sym)*>(symbol)->st_shndx == SHN_UNDEF;
}

std::string_view malloc_of_another() noexcept {
  if (!reached("malloc"))
    return module_of(dlsym(RTLD_DEFAULT, "malloc")).path.empty() ? "the program has a malloc of its own"
                                                                 : "another library's malloc comes before ours";
  if (__asan_init != nullptr || __tsan_init != nullptr || __msan_init != nullptr || __hwasan_init != nullptr ||
      __lsan_init != nullptr)
    return "a sanitizer is at work";
  return {};
}

}  // namespace poireau
