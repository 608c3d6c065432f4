#include "preload/real.h"

#include <dlfcn.h>

#include <iterator>

#include "preload/module.h"

// The compiler's start files, which this library does without, would define it: whose atfork handlers ours are.
extern "C" {
[[gnu::visibility("hidden")]] extern void* __dso_handle;
constinit void* __dso_handle = &__dso_handle;
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

bool reached() noexcept {
  void* const first = dlsym(RTLD_DEFAULT, kNames[0]);
  return module_of(first).map == module_of(&real).map;
}

}  // namespace poireau
