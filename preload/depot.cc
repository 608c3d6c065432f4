#include "preload/depot.h"

#include <algorithm>
#include <atomic>

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/sandbox.h"
#include "preload/stack.h"
#include "tracked_alloc/headroom.h"

namespace poireau::depot {
namespace {

namespace headroom = tracked_alloc::headroom;

constexpr size_t kSizes[] = {8 << 20, 256 << 10};  // mapped; touched as it fills
constexpr size_t kTableShare = 16;                 // of the size; stacks of 15 frames fill table and arena together
constexpr size_t kLongestSearch = 64;

struct Stack {
  std::span<const uintptr_t> frames;
  bool truncated = false;
  [[nodiscard]] bool operator==(const Stack& other) const noexcept {
    return truncated == other.truncated && std::ranges::equal(frames, other.frames);
  }
};
constexpr uintptr_t kTruncated = uintptr_t{1} << 63;  // beside a stack's size

/// One mapping: this, a table of stacks, and an arena of words: a stack is their count and its frames, and its number
/// is where it begins.
struct alignas(uintptr_t) Depot {
  /// A stack's number, and above it half of its hash; 0: free. Never changed once taken.
  using Entry = std::atomic<uint64_t>;

  uint32_t entries, words;    // entries: a power of two
  std::atomic<uint32_t> top;  // the first word that is free

  [[nodiscard]] Entry* table() noexcept { return reinterpret_cast<Entry*>(this + 1); }
  [[nodiscard]] uintptr_t* arena() noexcept { return reinterpret_cast<uintptr_t*>(table() + entries); }

  void lay_out(size_t size) noexcept {
    entries = static_cast<uint32_t>(size / kTableShare / sizeof(Entry));
    words = static_cast<uint32_t>((size - sizeof(Depot)) / sizeof(uintptr_t) - entries);
    top.store(1, std::memory_order_relaxed);  // no stack has the number 0
  }

  [[nodiscard]] Stack at(uint32_t number) noexcept {
    const uint32_t end = std::min(top.load(std::memory_order_relaxed), words);
    if (number == 0 || number >= end) return {};
    const uintptr_t size = arena()[number] & ~kTruncated;
    if (size >= end - number) return {};
    return {{arena() + number + 1, size}, (arena()[number] & kTruncated) != 0};
  }

  /// Where `stack` lies now, if there is room; else 0.
  [[nodiscard]] uint32_t add(const Stack& stack) noexcept {
    const auto& frames = stack.frames;
    const auto size = static_cast<uint32_t>(frames.size() + 1);
    uint32_t begin = top.load(std::memory_order_relaxed);
    do {
      if (size > words - begin) return 0;
    } while (!top.compare_exchange_weak(begin, begin + size, std::memory_order_acquire, std::memory_order_relaxed));
    arena()[begin] = frames.size() | (stack.truncated ? kTruncated : 0);
    std::copy(frames.begin(), frames.end(), arena() + begin + 1);
    return begin;
  }

  /// What `add` gave, if nobody has added anything since.
  void take_back(uint32_t begin, size_t frames) noexcept {
    auto end = static_cast<uint32_t>(begin + frames + 1);
    top.compare_exchange_strong(end, begin, std::memory_order_release,
                                std::memory_order_relaxed);  // our writes are over
  }
};

constinit std::atomic<Depot*> depot{nullptr};
constinit std::atomic<uint64_t> no_room{0};

/// Memory that costs nothing until it is touched, whatever the process has decided of huge pages and of mlockall; where
/// a filter knows only the calls that malloc makes, it may cost more.
void* map_lazily(size_t size) noexcept {
  if (sandbox::state() != sandbox::State::open) return sys::map(size);
  void* const got = sys::map_closed(size);
  if (got == nullptr) return nullptr;
  if (sys::unlock(got, size) == 0) {
    static_cast<void>(sys::advise(got, size, sys::Advice::never_huge));  // a kernel without them knows no such advice
    if (sys::protect(got, size, true) == 0) return got;
  }
  sys::unmap(got, size);
  return nullptr;
}

Depot* map(size_t size) noexcept {
  if (!headroom::take(size)) return nullptr;
  void* const got = map_lazily(size);
  Depot* first = nullptr;
  if (got != nullptr) {
    auto* const fresh = static_cast<Depot*>(got);
    fresh->lay_out(size);
    if (depot.compare_exchange_strong(first, fresh, std::memory_order_acq_rel)) return fresh;
    sys::unmap(got, size);
  }
  headroom::give_back(size);
  return first;
}

/// The depot, mapped by whoever comes first; nullptr if there is no memory for it.
Depot* open() noexcept {
  Depot* got = depot.load(std::memory_order_acquire);
  if (got != nullptr || sandbox::state() > sandbox::State::inherited) return got;
  for (const size_t size : kSizes)
    if ((got = map(size)) != nullptr) return got;
  return nullptr;
}

/// Two frames a multiplication, none of which waits for another.
uint64_t hash_of(const Stack& stack) noexcept {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15;
  const std::span frames = stack.frames;
  const auto fold = [](uint64_t a, uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  uint64_t hash = frames.size() << 1 | (stack.truncated ? 1 : 0), key = kStep;
  size_t i = 0;
  for (; i + 1 < frames.size(); i += 2, key += kStep) hash += fold(frames[i] ^ key, frames[i + 1] ^ ~key);
  return scramble(i < frames.size() ? hash + fold(frames[i] ^ key, ~key) : hash);
}

uint32_t find_or_add(Depot& in, const Stack& stack) noexcept {
  const uint64_t hash = hash_of(stack), half = hash >> 32 << 32;
  uint32_t ours = 0;
  for (size_t step = 0; step < kLongestSearch; ++step) {
    Depot::Entry& entry = in.table()[(hash + step) & (in.entries - 1)];
    uint64_t there = entry.load(std::memory_order_acquire);
    if (there == 0) {
      if (ours == 0 && (ours = in.add(stack)) == 0) return 0;
      if (entry.compare_exchange_strong(there, half | ours, std::memory_order_acq_rel)) return ours;
    }
    const auto number = static_cast<uint32_t>(there);
    if (there - number == half && in.at(number) == stack) {
      if (ours != 0) in.take_back(ours, stack.frames.size());
      return number;
    }
  }
  if (ours != 0) in.take_back(ours, stack.frames.size());
  return 0;
}

}  // namespace

uint32_t intern(std::span<const uintptr_t> frames, bool truncated) noexcept {
  if (frames.empty()) return 0;
  if (frames.size() > stack::kMostFrames) return intern(frames.first(stack::kMostFrames), true);
  Depot* const in = open();
  const uint32_t number = in == nullptr ? 0 : find_or_add(*in, {frames, truncated});
  if (number == 0) no_room.fetch_add(1, std::memory_order_relaxed);
  return number;
}

std::span<const uintptr_t> frames_of(uint32_t number) noexcept {
  Depot* const in = depot.load(std::memory_order_acquire);
  return in == nullptr ? std::span<const uintptr_t>() : in->at(number).frames;
}

bool truncated(uint32_t number) noexcept {
  Depot* const in = depot.load(std::memory_order_acquire);
  return in != nullptr && in->at(number).truncated;
}

uint64_t refused() noexcept { return no_room.load(std::memory_order_relaxed); }

}  // namespace poireau::depot
