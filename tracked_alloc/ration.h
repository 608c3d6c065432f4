#pragma once
#include <cstddef>
#include <cstdint>

/// Who gets guards, where not everybody does. A guarded home costs more than all the rest of its sample, so they are
/// rationed: each home gets them with a chance that follows from how often homes are asked for lately and what one
/// costs, and remembers that chance. All-zero is the start.
namespace poireau::tracked_alloc::ration {

constexpr uint64_t kNone = 0, kAll = UINT64_MAX, kGoverned = UINT64_MAX - 1;  // or homes per second
constexpr uint32_t kAlways = UINT32_MAX;
constexpr uint64_t kWhole = 1 << 16;

struct Draw {
  bool guarded;
  uint32_t chance;  // times 2^32, less one
};
/// `mode`: one of the above. `size_class`: homes of about the same size, 0 to 9. `now` is in ticks. `share`: how much
/// of the ration there is, times kWhole.
[[nodiscard]] Draw draw(uint64_t mode, unsigned size_class, size_t pages, uint64_t random, uint64_t now,
                        uint64_t ticks_per_second, uint64_t share = kWhole) noexcept;

}  // namespace poireau::tracked_alloc::ration
