#pragma once
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "tracked_alloc/remap.h"

/// How blocks of a size lie: `slots` of them share a group of pages in the arena. Each mapping of the group shows all
/// of them, and is one's own.
namespace poireau::tracked_alloc::remap {

struct Shape {
  uint32_t capacity;  // bytes
  uint32_t group;     // pages
  uint32_t slots;
  uint32_t turn;  // see slot_in
  uint32_t inverse;
};

namespace shapes {

constexpr size_t kPage = region::kPage;

struct Row {
  uint32_t capacity, group;
};
// Up to 512 bytes what divides a page well; then steps of a fifth or less, over several pages where one is too coarse.
constexpr Row kRows[] = {
    {32, 1},    {48, 1},    {64, 1},    {80, 1},    {96, 1},     {112, 1},    {128, 1},    {144, 1},    {160, 1},
    {176, 1},   {192, 1},   {208, 1},   {224, 1},   {240, 1},    {256, 1},    {272, 1},    {288, 1},    {304, 1},
    {320, 1},   {336, 1},   {368, 1},   {400, 1},   {448, 1},    {512, 1},    {576, 1},    {672, 1},    {816, 1},
    {1024, 1},  {1168, 2},  {1360, 1},  {1632, 2},  {2048, 1},   {2336, 4},   {2720, 2},   {3264, 4},   {4096, 1},
    {4672, 8},  {5456, 4},  {6544, 8},  {8192, 2},  {9360, 16},  {10912, 8},  {12288, 3},  {14336, 7},  {16384, 4},
    {20480, 5}, {24576, 6}, {28672, 7}, {32768, 8}, {40960, 10}, {49152, 12}, {57344, 14}, {65536, 16}, {69632, 17},
};

consteval auto expand() {
  std::array<Shape, std::size(kRows)> out{};
  for (size_t i = 0; i < out.size(); ++i) {
    const auto [capacity, group] = kRows[i];
    const uint32_t slots = static_cast<uint32_t>(group * kPage / capacity);
    out[i] = {capacity, group, slots, std::bit_floor(slots) - 1, 65536 / group + 1};
  }
  return out;
}

}  // namespace shapes

inline constexpr auto kShapes = shapes::expand();
constexpr unsigned kShapeCount = kShapes.size();
static_assert(kShapes.back().capacity > kMost);
constexpr unsigned kNoShape = kShapeCount;

/// Which of the run's groups a page of it is in.
constexpr unsigned group_of(const Shape& shape, unsigned page) noexcept { return page * shape.inverse >> 16; }
/// Where in its n-th group a run's block lies: not at the same place in all, or they would fight for the same lines of
/// the cache. One to one for each n.
constexpr unsigned slot_in(const Shape& shape, unsigned run_of_frame, unsigned n) noexcept {
  const unsigned slot = run_of_frame + (n & shape.turn);
  return slot < shape.slots ? slot : slot - shape.slots;
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
  constexpr uint32_t kFew[] = {32, 48, 80, 144, 272, 576, 1024};  // a power of two, and a byte to spare
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
