#include "preload/module.h"

#include <dlfcn.h>
#include <link.h>

#include "preload/base/text.h"
#include "preload/process.h"

extern "C" [[gnu::weak]] decltype(_dl_find_object) _dl_find_object;

namespace poireau {

Module module_of(const void* address) noexcept {
  dl_find_object found;
  if (_dl_find_object == nullptr || _dl_find_object(const_cast<void*>(address), &found) != 0) return {};
  const link_map* map = found.dlfo_link_map;
  const std::string_view path = map->l_name;
  return {found.dlfo_link_map, map->l_addr, path.empty() ? process::program() : base_name(path)};
}

}  // namespace poireau
