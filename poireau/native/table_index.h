#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

/// Finds the number of what was seen before by its hash.
namespace poireau::native {

constexpr uint32_t kNone = UINT32_MAX;

/// Different in each run: traces can't be made to collide.
[[nodiscard]] uint64_t hash_seed();

namespace hashing {
constexpr uint64_t kFirst = 0x9e3779b97f4a7c15, kSecond = 0xd6e8feb86659fd93;
constexpr unsigned __int128 product(uint64_t a, uint64_t b) { return static_cast<unsigned __int128>(a) * b; }
constexpr uint64_t folded(unsigned __int128 wide) {
  return static_cast<uint64_t>(wide) ^ static_cast<uint64_t>(wide >> 64);
}
}  // namespace hashing

template <typename Item>
uint64_t hash_of(std::span<const Item> items, uint64_t seed) {
  using namespace hashing;
  const char* at = reinterpret_cast<const char*>(items.data());
  size_t left = items.size_bytes();
  uint64_t hash = folded(product(seed ^ left, kFirst));
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = folded(product(hash ^ word, kSecond));
  }
  if (left == 0) return hash;
  uint64_t word = 0;
  std::memcpy(&word, at, left);
  return folded(product(hash ^ word, kFirst));
}
inline uint64_t hash_of(std::string_view text, uint64_t seed) { return hash_of(std::span(text), seed); }

/// Of one word: no other has the same.
constexpr uint64_t scrambled(uint64_t word, uint64_t seed) {
  word ^= seed;
  word = (word ^ word >> 32) * hashing::kFirst;
  word = (word ^ word >> 29) * hashing::kSecond;
  return word ^ word >> 32;
}

/// Numbers by hash; what they stand for lies elsewhere. `check`: more of the hash, where there is more.
class Index {
 public:
  /// The number with this hash of which `same` is true, or kNone.
  template <typename Same>
  [[nodiscard]] uint32_t find(uint64_t hash, Same&& same) const {
    if (slots_.empty()) return kNone;
    for (size_t at = hash & mask();; at = (at + 1) & mask()) {
      const Slot& slot = slots_[at];
      if (slot.number == kNone) return kNone;
      if (slot.hash == hash && same(slot)) return slot.number;
    }
  }
  /// Nothing but the hash says what it is.
  [[nodiscard]] uint32_t find_hash(uint64_t hash, uint32_t check = 0) const {
    return find(hash, [check](const Slot& slot) { return slot.check == check; });
  }
  /// It will soon be looked for.
  void expect(uint64_t hash) const {
    // The builtin has no effect that gcc would know of: it leaves out the whole function.
    if (!slots_.empty()) asm volatile("prefetcht0 %0" : : "m"(slots_[hash & mask()]));
  }
  /// One that `find` did not find.
  void add(uint64_t hash, uint32_t number, uint32_t check = 0) {
    if (2 * (count_ + 1) > slots_.size()) grow();
    put({hash, check, number});
    ++count_;
  }
  void clear() {
    slots_ = {};
    count_ = 0;
  }

  struct Slot {
    uint64_t hash = 0;
    uint32_t check = 0, number = kNone;
  };

 private:
  [[nodiscard]] size_t mask() const { return slots_.size() - 1; }
  void put(const Slot& slot) {
    size_t at = slot.hash & mask();
    while (slots_[at].number != kNone) at = (at + 1) & mask();
    slots_[at] = slot;
  }
  void grow() {
    std::vector<Slot> all(slots_.empty() ? 64 : 2 * slots_.size());
    all.swap(slots_);
    for (const Slot& slot : all)
      if (slot.number != kNone) put(slot);
  }

  std::vector<Slot> slots_;
  size_t count_ = 0;
};

}  // namespace poireau::native
