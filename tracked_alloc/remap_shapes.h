#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "tracked_alloc/remap.h"

/// How blocks of a size lie: a run has one in each group of pages of the arena, in a *lane*. `slots` lanes of a size
/// share a *bin*: so many bytes of every page, or whole groups where blocks are larger than a page.
namespace poireau::tracked_alloc::remap {

struct Shape {
  uint32_t capacity;  // bytes
  uint32_t group;     // pages
  uint32_t slots;
  uint32_t bin;  // bytes of every page
  uint32_t inverse;
  uint16_t wander;  // see offset_in
  uint8_t turn, turn_shift;
};

namespace shapes {

constexpr size_t kPage = region::kPage;

struct Row {
  uint32_t capacity, group, bin;
};
// Up to 512 bytes what divides a small bin well; then steps of a fifth or less, over several pages where one is too
// coarse.
constexpr Row kRows[] = {
    {32, 1, 256},      {48, 1, 256},      {64, 1, 256},      {80, 1, 256},      {96, 1, 512},      {112, 1, 512},
    {128, 1, 512},     {144, 1, 1024},    {160, 1, 512},     {176, 1, 1024},    {192, 1, 1024},    {224, 1, 1024},
    {240, 1, 1024},    {256, 1, 512},     {272, 1, 2048},    {288, 1, 2048},    {304, 1, 1024},    {320, 1, 1024},
    {336, 1, 1024},    {368, 1, 2048},    {400, 1, 2048},    {448, 1, 2048},    {512, 1, 1024},    {576, 1, 4096},
    {672, 1, 2048},    {816, 1, 4096},    {1024, 1, 2048},   {1168, 2, 4096},   {1360, 1, 4096},   {1632, 2, 4096},
    {2048, 1, 4096},   {2336, 4, 4096},   {2720, 2, 4096},   {3264, 4, 4096},   {4096, 1, 4096},   {4672, 8, 4096},
    {5456, 4, 4096},   {6544, 8, 4096},   {8192, 2, 4096},   {9360, 16, 4096},  {10912, 8, 4096},  {12288, 3, 4096},
    {14336, 7, 4096},  {16384, 4, 4096},  {20480, 5, 4096},  {24576, 6, 4096},  {28672, 7, 4096},  {32768, 8, 4096},
    {40960, 10, 4096}, {49152, 12, 4096}, {57344, 14, 4096}, {65536, 16, 4096}, {69632, 17, 4096},
};

consteval auto expand() {
  std::array<Shape, std::size(kRows)> out{};
  for (size_t i = 0; i < out.size(); ++i) {
    const auto [capacity, group, bin] = kRows[i];
    const uint32_t slots = group * bin / capacity;
    out[i] = {.capacity = capacity,
              .group = group,
              .slots = slots,
              .bin = bin,
              .inverse = 65536 / group + 1,
              .wander = static_cast<uint16_t>(kPage - bin),
              .turn = static_cast<uint8_t>(std::bit_floor(slots) - 1),
              .turn_shift = static_cast<uint8_t>(std::countr_zero(kPage / bin))};
  }
  return out;
}

}  // namespace shapes

inline constexpr auto kShapes = shapes::expand();
constexpr unsigned kShapeCount = kShapes.size();
static_assert(kShapes.back().capacity > kMost);
constexpr unsigned kNoShape = kShapeCount;
constexpr unsigned kMostSlots = 8;
static_assert(std::ranges::all_of(kShapes, [](const Shape& shape) { return shape.slots <= kMostSlots; }));

/// Which of the run's groups a page of it is in.
constexpr unsigned group_of(const Shape& shape, unsigned page) noexcept { return page * shape.inverse >> 16; }

/// A bin of the page in units of 64 bytes, and the slot in it.
constexpr unsigned kGrain = 64;
constexpr uint16_t lane_of(unsigned bin_at, unsigned slot) noexcept {
  return static_cast<uint16_t>(bin_at / kGrain * kMostSlots + slot);
}
/// Where in its n-th group a lane's block lies: not at the same place in all, or they would fight for the same lines of
/// the cache. One to one for each n: slots change places in the bin, and bins, which lie at multiples of their size,
/// do with those of their size as far as n's bits say so.
constexpr unsigned offset_in(const Shape& shape, unsigned lane, unsigned n) noexcept {
  constexpr unsigned kStep = 2531;  // of a page, the golden section: neighbours are far apart
  const unsigned slot = lane % kMostSlots + (n >> shape.turn_shift & shape.turn);
  const unsigned bin = lane / kMostSlots * kGrain ^ (n * kStep & shape.wander);
  return bin + (slot < shape.slots ? slot : slot - shape.slots) * shape.capacity;
}

namespace shapes {

constexpr size_t kFine = 16, kFineMost = 1024, kCoarse = 512;

template <size_t kStep, size_t kCount>
consteval auto first_at_least(size_t beyond) {
  std::array<uint8_t, kCount> out{};
  for (size_t i = 0, shape = 0; i < kCount; ++i) {
    while (shape < kShapeCount && kShapes[shape].capacity < i * kStep + beyond) ++shape;
    out[i] = static_cast<uint8_t>(shape);
  }
  return out;
}
inline constexpr auto kFineTable = first_at_least<kFine, kFineMost / kFine + 1>(0);
inline constexpr auto kCoarseTable = first_at_least<kCoarse, kMost / kCoarse + 1>(1);

consteval bool inverses_are_right() {
  for (const Shape& shape : kShapes)
    for (unsigned page = 0; page <= region::kChunkPages; ++page)
      if (group_of(shape, page) != page / shape.group) return false;
  return true;
}
static_assert(inverses_are_right());

}  // namespace shapes

namespace shapes {

consteval auto round_up() {
  constexpr uint32_t kFew[] = {32, 48, 80, 160, 240, 336, 672, 1024};  // of small bins
  std::array<uint8_t, kShapeCount> out{};
  for (unsigned i = 0; i < kShapeCount; ++i) {
    const uint32_t* const few = std::ranges::lower_bound(kFew, kShapes[i].capacity);
    unsigned to = i;
    while (few != std::end(kFew) && kShapes[to].capacity != *few) ++to;
    out[i] = static_cast<uint8_t>(to);
  }
  return out;
}

}  // namespace shapes

/// For each the next of a few: where little lives, to share pages takes less memory than to fit. Not for aligned
/// blocks.
inline constexpr auto kRounded = shapes::round_up();

/// The smallest that has a byte to spare behind the block, and the alignment; kNoShape: a guarded home is for it.
constexpr unsigned shape_for(size_t size, size_t alignment) noexcept {
  if (size > kMost || alignment > kMostAlignment) return kNoShape;
  unsigned shape = shapes::kFineTable[std::min(size, shapes::kFineMost - 1) / shapes::kFine + 1];
  if (size >= shapes::kFineMost) [[unlikely]] {
    shape = shapes::kCoarseTable[size / shapes::kCoarse];
    while (kShapes[shape].capacity <= size) ++shape;
  }
  if (alignment > 16) [[unlikely]]
    while (shape < kShapeCount && kShapes[shape].slots != 1 && kShapes[shape].capacity % alignment != 0) ++shape;
  return shape;
}

}  // namespace poireau::tracked_alloc::remap
