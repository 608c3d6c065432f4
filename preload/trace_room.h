#pragma once
#include <cstdint>

#include "preload/trace_place.h"

namespace poireau::trace {

/// `bytes` more are about to be taken in the parent. Now and then (each byte equally likely to be the one) looks how
/// much of the user's lies there, and removes what has ended, the oldest runs first, then processes of running ones,
/// until less than trace_total does. What is not called like ours is neither counted nor touched. Bounded work a call:
/// what can't be counted in it is too much. False: there is nothing to remove, and the bytes are too many.
[[nodiscard]] bool make_room(const Place& place, uint64_t bytes) noexcept;

}  // namespace poireau::trace
