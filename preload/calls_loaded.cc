#include "preload/calls.h"
#include "preload/module.h"
#include "preload/symbols.h"

void poireau::calls::resolve() noexcept {
  symbols::find_all(names(), {reinterpret_cast<void**>(poireau_calls), kCalls},
                    following(module_of(poireau_calls).map));
}
