#include "preload/real.h"

#include <dlfcn.h>

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

std::string_view malloc_of_another() noexcept {
  // The executable's own goes before any preloaded one.
  if (module_of(dlsym(RTLD_DEFAULT, kNames[0])).map != module_of(&real).map)
    return "the program has a malloc of its own";
  if (__asan_init != nullptr || __tsan_init != nullptr || __msan_init != nullptr || __hwasan_init != nullptr ||
      __lsan_init != nullptr)
    return "a sanitizer is at work";
  return {};
}

}  // namespace poireau
