#include "preload/extension.h"

#include "preload/hooks.h"
#include "preload/operators.h"
#include "preload/protect.h"
#include "tracked_alloc/tracked_alloc.h"

using namespace poireau;

namespace {

void reroute(void (*also)() noexcept) noexcept {
  hooks::protect(false);
  operators::protect(false);
  hooks::route();
  operators::classify();
  also();
  if (!protect::protects_all()) return;
  hooks::protect(true);
  operators::protect(true);
}

}  // namespace

extern "C" const Extension* poireau_extension() {
  static constinit Extension extension{};
  const bool ready = lifecycle::start() == sampled::Way::again;
  extension = {
      .version = kExtensionVersion,
      .gap_offset = gap_offset,
      .region_floor = tracked_alloc::region_floor,
      .ready = ready,
      .reroute = reroute,
      .judge = sampled::judge,
      .settle = sampled::settle,
      .afterwards = sampled::afterwards,
      .release = sampled::release,
      .measure = sampled::measure,
      .borrow = sampled::borrow,
      .repay = sampled::repay,
      .place = sampled::place,
      .move_in = sampled::move_in,
      .protects_all = protect::protects_all,
      .allocate_protected = protect::allocate,
      .move_in_protected = protect::move_in,
      .is_no_block = protect::is_no_block,
  };
  return &extension;
}
