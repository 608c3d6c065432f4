#include "preload/pools.h"

#include <algorithm>
#include <atomic>

#include "preload/base/sys.h"

namespace poireau::pools {
namespace {

constexpr size_t kMost = 64, kUnit = 8;
constexpr size_t kFarthest = (size_t{1} << 20) / kUnit;  // that the beginning of an object is looked for, in units

/// A word for each unit of memory: twice the size of the object that begins there, and 1 if it is free; 0: none does.
using Word = std::atomic<uint32_t>;
constexpr size_t kMostSize = UINT32_MAX / 4;

/// The words stay mapped when a pool is gone, for somebody may be looking at them; the next one there has them.
struct Pool {
  std::atomic<uintptr_t> begin;  // 0: none. Set last, gone first
  std::atomic<size_t> size, room;
  std::atomic<Word*> words;
};
constinit Pool pools[kMost]{};
constinit std::atomic<uint32_t> there{0};

constexpr uintptr_t kNobody = UINTPTR_MAX;  // begins there

constexpr size_t bytes_of(size_t size) noexcept {
  constexpr size_t kPage = 4096;
  return ((size / kUnit + 1) * sizeof(Word) + kPage - 1) & -kPage;
}

/// Where in which pool an address is.
struct Place {
  Word* words = nullptr;  // nullptr: in none
  uintptr_t begin = 0;
  size_t at = 0, count = 0;
};
Place place_of(uintptr_t address) noexcept {
  if (any())
    for (const Pool& pool : pools) {
      const uintptr_t begin = pool.begin.load(std::memory_order_acquire);
      const size_t size = pool.size.load(std::memory_order_acquire);
      if (begin == 0 || address - begin >= size) continue;
      Word* const words = pool.words.load(std::memory_order_acquire);
      if (pool.begin.load(std::memory_order_relaxed) != begin) continue;  // another pool's by now
      return {words, begin, (address - begin) / kUnit, (size + kUnit - 1) / kUnit};
    }
  return {};
}

Object object_at(const Place& place, size_t at, uint32_t word) noexcept {
  return {place.begin + at * kUnit, word / 2, (word & 1) == 0};
}

}  // namespace

bool any() noexcept { return there.load(std::memory_order_relaxed) != 0; }

bool create(uintptr_t begin, size_t size) noexcept {
  if (begin == 0 || size == 0) return false;
  for (Pool& pool : pools) {
    uintptr_t none = 0;
    if (!pool.begin.compare_exchange_strong(none, kNobody)) continue;
    if (pool.room < bytes_of(size)) {
      pool.words = static_cast<Word*>(sys::map(bytes_of(size)));
      pool.room = pool.words != nullptr ? bytes_of(size) : 0;
    }
    const bool has_room = pool.room != 0;
    pool.size = has_room ? size : 0;
    pool.begin.store(has_room ? begin : 0, std::memory_order_release);
    there.fetch_add(has_room);
    return has_room;
  }
  return false;
}

void destroy(uintptr_t begin) noexcept {
  for (Pool& pool : pools) {
    uintptr_t expected = begin;
    if (begin == 0 || !pool.begin.compare_exchange_strong(expected, kNobody)) continue;
    there.fetch_sub(1);
    pool.size = 0;
    static_cast<void>(sys::advise(pool.words, pool.room, sys::Advice::forget));
    pool.begin = 0;
    return;
  }
}

void allocated(uintptr_t object, size_t size) noexcept {
  const Place place = place_of(object);
  if (place.words == nullptr || size > kMostSize || object % kUnit != 0) return;
  place.words[place.at].store(static_cast<uint32_t>(size * 2), std::memory_order_relaxed);
  // Smaller ones that were there before.
  const size_t end = std::min(place.count, place.at + (size + kUnit - 1) / kUnit);
  for (size_t at = place.at + 1; at < end; ++at) place.words[at].store(0, std::memory_order_relaxed);
}

Object freed(uintptr_t object) noexcept {
  const Place place = place_of(object);
  if (place.words == nullptr) return {};
  const uint32_t before = place.words[place.at].load(std::memory_order_relaxed);
  if (before == 0) return {};
  return object_at(place, place.at, place.words[place.at].fetch_or(1, std::memory_order_relaxed));
}

Object find(uintptr_t address) noexcept {
  const Place place = place_of(address);
  if (place.words == nullptr) return {};
  const size_t end = place.at - std::min(place.at, kFarthest);
  for (size_t at = place.at;; --at) {
    const uint32_t word = place.words[at].load(std::memory_order_relaxed);
    if (word != 0) {
      const Object object = object_at(place, at, word);
      return address - object.address < std::max<size_t>(object.size, 1) ? object : Object{};
    }
    if (at == end) return {};
  }
}

}  // namespace poireau::pools
