#include "preload/operators.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "preload/base/sys.h"
#include "preload/module.h"
#include "preload/protected.h"
#include "preload/reentry.h"
#include "preload/sampled_blocks.h"
#include "preload/shapes.h"
#include "preload/symbols.h"

// Who may be next, and what we do then:
//   nobody              a C program, perhaps with C++ plugins: we are operator new, over malloc
//   the C++ runtime     its new is max(size, 1) bytes of malloc: we do the same ourselves, so that the kind is known
//   and
//                       the request counted once; the runtime gets it only when malloc fails, for the handler and the
//                       throw
//   the allocator       counted here, and it serves it
//   anybody else        he has his reasons: passed on uncounted, what he asks malloc for is counted there
// and if the executable replaces but one of the forms, the others are the runtime's that call it: all are passed on.

using namespace poireau;

namespace {

void* block(size_t size, size_t alignment) noexcept {
  size = std::max<size_t>(size, 1);
  if (!std::has_single_bit(alignment) || size > SIZE_MAX - alignment) return nullptr;
  if (alignment <= kAnyType) return unprotected().malloc(size);
  return unprotected().aligned_alloc(alignment, (size + alignment - 1) & -alignment);
}

/// A program of C has no operator new in sight even when a plugin of it brought the C++ runtime along: then it is the
/// plugin's own, or that of whatever runtime is loaded. Always new, never new[]: that one would come back here from us,
/// not from the plugin.
void* find_hidden(std::string_view form, const void* caller) noexcept {
  char name[48] = {};
  form.copy(name, sizeof name - 1);
  name[3] = 'w';  // _Znwm, not _Znam
  const link_map* const ourselves = module_of(&real).map;
  const link_map* const plugin = module_of(caller).map;
  if (plugin != nullptr && plugin != ourselves)
    if (void* found = symbols::find(name, plugin); found != nullptr && module_of(found).map != ourselves) return found;
  return symbols::find(name, following(ourselves));
}

constexpr size_t kNews = 0
#define OPERATOR_allocate(...) +1
#define OPERATOR_release(...)
#define CXX_ROW(shape, library, ...) OPERATOR_##shape(__VA_ARGS__)
#include "preload/rows.h"
#undef OPERATOR_allocate
    ;
constexpr size_t kForms = 0
#define CXX_ROW(...) +1
#include "preload/rows.h"
    ;

constexpr char kNames[] =
#define CXX_ROW(shape, library, name, ...) #name "\0"
#include "preload/rows.h"
    ;

/// Any of them: arguments that it doesn't know of it doesn't look at, and into a Nothrow none does.
using Form = void* (*)(size_t, size_t, size_t);
static_assert(offsetof(Functions, _ZdaPvmSt11align_val_t) == offsetof(Functions, _Znwm) + (kForms - 1) * sizeof(Form));
static_assert(offsetof(Functions, _ZdlPv) == offsetof(Functions, _Znwm) + kNews * sizeof(Form));
Form* forms_of(Functions& functions) noexcept { return reinterpret_cast<Form*>(&functions._Znwm); }

/// Malloc failed: the runtime runs the new handler, perhaps comes back to us for its memory, and throws.
[[gnu::cold, gnu::noinline]] void* fail(size_t size, size_t second, size_t third, size_t form, const void* caller) {
  if (const void* const judged = sampled::withdraw(size)) caller = judged;
  std::string_view name = kNames;
  for (size_t left = form; left > 0; --left) name = name.data() + name.size() + 1;
  Form following = forms_of(next)[form];
  if (following == nullptr) following = reinterpret_cast<Form>(find_hidden(name, caller));
  if (following != nullptr) return following(size, second, third);
  if (!name.ends_with("nothrow_t")) {
    sys::write(2, "poireau: operator new is out of memory and finds no C++ runtime to throw std::bad_alloc\n");
    __builtin_trap();
  }
  return nullptr;
}

template <typename... Arguments>
[[gnu::always_inline]] inline void* fail(size_t form, const void* caller, Arguments... arguments) {
  const size_t all[3] = {std::bit_cast<size_t>(arguments)...};
  return fail(all[0], all[1], all[2], form, caller);
}

}  // namespace

#define OPERATOR_allocate(name, result, parameters, arguments, bytes, alignment_) \
  static result plain_##name parameters {                                         \
    if (result got = block(bytes, alignment_); got != nullptr) [[likely]]         \
      return got;                                                                 \
    return FAIL_WITH(name, arguments);                                            \
  }
#define UNPACK(...) __VA_ARGS__
#define FAIL_WITH(name, arguments)                                                                           \
  fail((offsetof(Functions, name) - offsetof(Functions, _Znwm)) / sizeof(Form), __builtin_return_address(0), \
       UNPACK arguments)

#define CXX_ROW(shape, library, ...) \
  SHAPE_##shape(__VA_ARGS__) OPERATOR_##shape(__VA_ARGS__) PROTECTED_##shape(__VA_ARGS__)
#include "preload/rows.h"

namespace poireau::operators {
namespace {

[[gnu::cold]] bool all_reached() noexcept {
  bool all = true;
  for (const char* name = kNames; *name != '\0'; name += std::string_view(name).size() + 1) all &= reached(name);
  return all;
}

/// Whether all forms that are next belong to the C++ runtime, and its new comes back to us with nothing but its size.
[[gnu::cold]] bool runtime_is_next() noexcept {
  const link_map* runtime = module_of(first_of("__cxa_throw")).map;
  if (runtime == nullptr) return false;
  const auto belongs = [runtime](Form form) { return form == nullptr || map_of(form) == runtime; };
  const Form* const forms = forms_of(next);
  return std::all_of(forms, forms + kForms, belongs) && next._Znwm != nullptr &&
         reentry::counted_by(forms[0]) == reentry::kExample;
}

/// The allocator's own form serves what is counted here, or is counted by what it asks malloc for.
[[gnu::cold]] void use_allocators(Form& form, Form allocators, Form through) noexcept {
  if (allocators == nullptr || map_of(allocators) != map_of(next.malloc)) return;
  form = reentry::counted_by(allocators) == 0 ? allocators : through;
}

/// What we have for each form of new.
struct News {
  Form plain[kNews], through[kNews];
};
[[gnu::cold, gnu::noinline]] News news() noexcept {
  return {
#define NEWS_release(...)
#define CXX_ROW(shape, library, name, ...) NEWS_##shape(name)
      .plain =
          {
#define NEWS_allocate(name) as<Form>(plain_##name),
#include "preload/rows.h"
#undef NEWS_allocate
          },
#define CXX_ROW(shape, library, name, ...) NEWS_##shape(name)
      .through =
          {
#define NEWS_allocate(name) as<Form>(through_##name),
#include "preload/rows.h"
#undef NEWS_allocate
          },
  };
}

}  // namespace

[[gnu::cold]] void complete() noexcept {
  const News ours = news();
  Form *const form = forms_of(real), *const following = forms_of(next);
  for (size_t at = 0; at < kNews; ++at) form[at] = (following[at] == nullptr ? ours.plain : ours.through)[at];
  for (size_t at = kNews; at < kForms; ++at) form[at] = following[at] == nullptr ? as<Form>(free) : following[at];
}

[[gnu::cold]] void classify() noexcept {
  if (next._Znwm == nullptr) sampled::set_operators(sampled::Operators::ours);
  if (next._Znwm == nullptr || !all_reached()) return;
  const bool over_runtime = runtime_is_next(), over_allocator = map_of(next._Znwm) == map_of(next.malloc);
  if (over_runtime || over_allocator)
    sampled::set_operators(over_runtime ? sampled::Operators::ours : sampled::Operators::allocators);
  const News ours = news();
  Form* const form = forms_of(real);
  if (over_runtime) {
    std::copy(ours.plain, ours.plain + kNews, form);
    std::fill(form + kNews, form + kForms, as<Form>(real.free));
  } else {
    for (size_t at = 0; at < kNews; ++at) use_allocators(form[at], forms_of(next)[at], ours.through[at]);
  }
}

[[gnu::cold]] void protect(bool on) noexcept {
#define CXX_ROW(shape, library, name, ...) ARM_##shape(name)
#include "preload/rows.h"
  // What others give out may lie where no block of malloc's does.
  if (on && sampled::operators() != sampled::Operators::ours)
    std::copy(forms_of(beneath) + kNews, forms_of(beneath) + kForms, forms_of(real) + kNews);
}

}  // namespace poireau::operators
