#include "tracked_alloc/tracked_alloc.h"

namespace poireau::tracked_alloc {

constinit int64_t region_floor = kEverything;

}  // namespace poireau::tracked_alloc
