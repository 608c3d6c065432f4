#pragma once
#include <span>

#include "preload/module.h"

/// Lookups in the loaded files' own tables. dlsym would do, but for what it does besides: a failure leaves a message
/// behind, which it allocates now and frees on its next call, through whatever malloc and free there are by then, and
/// some of those look themselves up with dlsym.
namespace poireau {

/// The file that was loaded after this one.
[[nodiscard]] const link_map* following(const link_map* file) noexcept;

namespace symbols {

/// The first definition of `name` in the files loaded from `first` on, in the order the loader searches them; nullptr
/// if there is none.
[[nodiscard]] void* find(const char* name, const link_map* first) noexcept;
/// The same for many names, one behind the other, in one go: fills in what is nullptr.
void find_all(const char* names, std::span<void*> out, const link_map* first) noexcept;

/// The file that was loaded first, the program itself, given any other.
[[nodiscard]] const link_map* program(const link_map* any) noexcept;

}  // namespace symbols
}  // namespace poireau
