#include "preload/extension.h"

#include "tracked_alloc/tracked_alloc.h"

using namespace poireau;

extern "C" const Extension* poireau_extension() {
  static constinit Extension extension{};
  const bool ready = lifecycle::start() == sampled::Way::again;
  extension = {kExtensionVersion, gap_offset,       tracked_alloc::region_floor, ready, sampled::judge, sampled::settle,
               sampled::release,  sampled::measure, sampled::hand_over};
  return &extension;
}
