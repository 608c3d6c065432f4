#include "preload/real.h"

#include <iterator>

#include "preload/base/words.h"
#include "preload/module.h"
#include "preload/symbols.h"

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
constinit Functions beneath{};
constinit const Functions* plain = &real;

namespace {

constexpr std::string_view kNames[] = {
#define HOOK_ROW(shape, library, name, ...) #name,
#include "preload/rows.h"
};
static_assert(sizeof(Functions) == sizeof(void*) * std::size(kNames));

const link_map* ourselves() noexcept { return module_of(&real).map; }

}  // namespace

void resolve() noexcept {
  auto** function = reinterpret_cast<void**>(&next);
  const link_map* const after_us = following(ourselves());
  for (size_t row = 0; row < std::size(kNames); ++row)
    *function++ = symbols::find(kWords<kNames>[row].data(), after_us);
}

bool linked_in() noexcept { return false; }

void* first_of(const char* name) noexcept { return symbols::find(name, symbols::program(ourselves())); }

bool reached(const char* name) noexcept { return module_of(first_of(name)).map == ourselves(); }

std::string_view malloc_of_another() noexcept {
  if (!reached("malloc"))
    return module_of(first_of("malloc")).path.empty() ? "the program has a malloc of its own"
                                                      : "another library's malloc comes before ours";
  if (__asan_init != nullptr || __tsan_init != nullptr || __msan_init != nullptr || __hwasan_init != nullptr ||
      __lsan_init != nullptr)
    return "a sanitizer is at work";
  return {};
}

}  // namespace poireau
