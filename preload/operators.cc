#include "preload/operators.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "preload/base/sys.h"
#include "preload/module.h"
#include "preload/reentry.h"
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
  if (alignment <= kAnyType) return real.malloc(size);
  return real.aligned_alloc(alignment, (size + alignment - 1) & -alignment);
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

/// Malloc failed: the runtime runs the new handler, perhaps comes back to us for its memory, and throws.
template <typename... Arguments>
void* fail(const char* name, const void* caller, void* (*following)(Arguments...), size_t size,
           Arguments... arguments) {
  if (const void* const judged = sampled::withdraw(size)) caller = judged;
  constexpr bool throws = !std::disjunction_v<std::is_same<Arguments, Nothrow>...>;
  if (following == nullptr) following = reinterpret_cast<void* (*)(Arguments...)>(find_hidden(name, caller));
  if (following != nullptr) return following(arguments...);
  if constexpr (throws) {
    sys::write(2, "poireau: operator new is out of memory and finds no C++ runtime to throw std::bad_alloc\n");
    __builtin_trap();
  }
  return nullptr;
}

}  // namespace

#define OPERATOR_allocate(name, result, parameters, arguments, bytes, alignment_) \
  static result plain_##name parameters {                                         \
    if (result got = block(bytes, alignment_); got != nullptr) [[likely]]         \
      return got;                                                                 \
    return FAIL_WITH(name, bytes, arguments);                                     \
  }
#define UNPACK(...) __VA_ARGS__
#define FAIL_WITH(name, size, arguments) fail(#name, __builtin_return_address(0), next.name, size, UNPACK arguments)
#define OPERATOR_release(...)

#define CXX_ROW(shape, library, ...) SHAPE_##shape(__VA_ARGS__) OPERATOR_##shape(__VA_ARGS__)
#include "preload/rows.h"

namespace poireau::operators {
namespace {

constexpr size_t kForms = 0
#define CXX_ROW(...) +1
#include "preload/rows.h"
    ;
static_assert(offsetof(Functions, _ZdaPvmSt11align_val_t) == offsetof(Functions, _Znwm) + (kForms - 1) * sizeof(void*));

constexpr char kNames[] =
#define CXX_ROW(shape, library, name, ...) #name "\0"
#include "preload/rows.h"
    ;

[[gnu::cold]] bool all_reached() noexcept {
  bool all = true;
  for (const char* name = kNames; *name != '\0'; name += std::string_view(name).size() + 1) all &= reached(name);
  return all;
}

/// Whether all forms that are next belong to the C++ runtime, and its new comes back to us with nothing but its size.
[[gnu::cold]] bool runtime_is_next() noexcept {
  const link_map* runtime = module_of(first_of("__cxa_throw")).map;
  if (runtime == nullptr) return false;
  const auto belongs = [runtime](const void* form) { return form == nullptr || map_of(form) == runtime; };
  const auto* const forms = reinterpret_cast<const void* const*>(&next._Znwm);
  return std::all_of(forms, forms + kForms, belongs) && next._Znwm != nullptr &&
         reentry::counted_by(next._Znwm) == reentry::kExample;
}

/// The allocator's own form serves what is counted here, or is counted by what it asks malloc for.
template <typename Form>
[[gnu::cold, gnu::noinline]] void use_allocators(Form*& form, Form* allocators, Form* through) noexcept {
  if (allocators == nullptr || map_of(allocators) != map_of(next.malloc)) return;
  form = reentry::counted_by(allocators) == 0 ? allocators : through;
}

}  // namespace

[[gnu::cold]] void complete() noexcept {
#define START_allocate(name) real.name = next.name == nullptr ? plain_##name : through_##name;
#define START_release(name) real.name = next.name == nullptr ? as<decltype(real.name)>(free) : next.name;
#define CXX_ROW(shape, library, name, ...) START_##shape(name)
#include "preload/rows.h"
}

[[gnu::cold]] void classify() noexcept {
  if (next._Znwm == nullptr) sampled::set_operators(sampled::Operators::ours);
  if (next._Znwm == nullptr || !all_reached()) return;
  const bool over_runtime = runtime_is_next(), over_allocator = map_of(next._Znwm) == map_of(next.malloc);
  if (over_runtime || over_allocator)
    sampled::set_operators(over_runtime ? sampled::Operators::ours : sampled::Operators::allocators);
#define OVER_RUNTIME_allocate(name) real.name = plain_##name;
#define OVER_RUNTIME_release(name) real.name = as<decltype(real.name)>(real.free);
#define OVER_OTHERS_allocate(name) use_allocators(real.name, next.name, through_##name);
#define OVER_OTHERS_release(name)
  if (over_runtime) {
#define CXX_ROW(shape, library, name, ...) OVER_RUNTIME_##shape(name)
#include "preload/rows.h"
  } else {
#define CXX_ROW(shape, library, name, ...) OVER_OTHERS_##shape(name)
#include "preload/rows.h"
  }
}

}  // namespace poireau::operators
