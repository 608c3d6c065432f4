#include "preload/operators.h"
#include "preload/real.h"

// Where the linker, not the loader, decides who is next: in a static executable it gives us the real functions under
// the names that --wrap makes, in the unshadowed copy under their own (the build renames them here).

#define LIBC_ROW(shape, library, name, result, parameters, ...) extern "C" result next_##name parameters __asm__(#name);
#include "preload/rows.h"
__asm__(".weak cfree, free_sized, free_aligned_sized");  // not every libc has them

namespace poireau {

constinit Functions next{};
constinit Functions real{};
constinit Functions beneath{};
constinit const Functions* plain = &real;

void resolve() noexcept {
#define LIBC_ROW(shape, library, name, ...) next.name = next_##name;
#include "preload/rows.h"
}

bool linked_in() noexcept { return true; }

void* first_of(const char*) noexcept { return nullptr; }

std::string_view malloc_of_another() noexcept { return {}; }

// Here operator new is left to the C++ runtime; what it asks malloc for is counted there.
void operators::complete() noexcept {}
void operators::classify() noexcept {}
void operators::protect(bool) noexcept {}

}  // namespace poireau
