#pragma once
#include <signal.h>
#include <sys/types.h>

#include <cstddef>
#include <string_view>

namespace poireau {

using Nothrow = const void*;        // a reference to std::nothrow, as it is passed
using Heap = struct MimallocHeap*;  // a mi_heap_t, never looked into

/// One function of each name we export: those of the allocator we stand in front of.
struct Functions {
#define HOOK_ROW(shape, library, name, result, parameters, ...) result(*name) parameters;
#include "preload/rows.h"
};

/// What comes after us under each name; nullptr where there is none. All nullptr until `resolve`.
[[gnu::visibility("hidden")]] extern constinit Functions next;

/// What the hooks jump to: `next`, or what stands in for it. The malloc family is complete once `next` is known.
[[gnu::visibility("hidden")]] extern constinit Functions real;

/// What `real` was before it came to lead to protection (protected.h). All nullptr until then.
[[gnu::visibility("hidden")]] extern constinit Functions beneath;
/// `real`, or `beneath` where that is something else: for requests of our own, and those that get no protection.
[[gnu::visibility("hidden")]] extern constinit const Functions* plain;
[[nodiscard]] inline const Functions& unprotected() noexcept { return *__atomic_load_n(&plain, __ATOMIC_ACQUIRE); }

/// Fills `next`. Takes no lock and no memory: it may be called from the loader's own first malloc.
void resolve() noexcept;

/// Whether we are part of a static program: then libc is not all there yet when it first calls us.
[[nodiscard]] bool linked_in() noexcept;

/// Who gets the program's calls by this name; nullptr if nobody does.
[[nodiscard]] void* first_of(const char* name) noexcept;

/// Whether a call by this name comes to this library.
[[nodiscard]] bool reached(const char* name) noexcept;

/// Why the program's calls don't all come to us, if so; else empty.
[[nodiscard]] std::string_view malloc_of_another() noexcept;

/// The same function under another type: the arguments it doesn't know of it doesn't look at.
template <typename Function, typename Other>
Function as(Other* function) noexcept {
  return reinterpret_cast<Function>(reinterpret_cast<void (*)()>(function));
}

}  // namespace poireau
