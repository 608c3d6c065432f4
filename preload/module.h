#pragma once
#include <cstdint>
#include <string_view>

struct link_map;

/// The loaded file that holds an address, without a lock.
namespace poireau {

struct Module {
  link_map* map = nullptr;
  uintptr_t base = 0;
  std::string_view path;  // empty for the program itself
};
[[nodiscard]] Module module_of(const void* address) noexcept;

[[nodiscard]] link_map* map_of(const void* address) noexcept;
template <typename Result, typename... Arguments>
link_map* map_of(Result (*function)(Arguments...)) noexcept {
  return map_of(reinterpret_cast<const void*>(function));
}

}  // namespace poireau
