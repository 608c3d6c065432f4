#include "preload/module.h"

#include <dlfcn.h>
#include <link.h>

namespace poireau {

Module module_of(const void* address) noexcept {
  dl_find_object found;
  if (_dl_find_object(const_cast<void*>(address), &found) != 0) return {};
  return {found.dlfo_link_map, found.dlfo_link_map->l_addr, found.dlfo_link_map->l_name};
}

link_map* map_of(const void* address) noexcept { return module_of(address).map; }

}  // namespace poireau
