#include "poireau/native/table_addresses.h"

#include <algorithm>
#include <cstring>

namespace poireau::native {

Addresses::Addresses(Tables& tables, uint32_t process) : tables_(tables), process_(process), seed_(hash_seed()) {}

void Addresses::module(uint64_t base, uint64_t begin, uint64_t size, std::string_view path,
                       std::span<const uint8_t> build_id) {
  const uint64_t end = size > UINT64_MAX - begin ? UINT64_MAX : begin + size;
  const Module module{end, base, tables_.module(tables_.string(path), tables_.hexadecimal(build_id))};
  auto at = modules_.upper_bound(begin);
  if (at != modules_.begin() && std::prev(at)->second.end > begin) --at;
  if (at != modules_.end() && at->first == begin && at->second == module) return;
  bool changes = lowest_unknown_ < end && begin <= highest_unknown_;
  for (; at != modules_.end() && at->first < end; at = modules_.erase(at)) changes = true;
  if (size != 0) modules_[begin] = module;
  if (changes) forget_meanings();
}

// The hash of a stack is all that is kept of it: 96 bits, different in each run. So a stack that was there before costs
// one miss of the cache, and two that differ are never taken for the same in the life of any machine.
Addresses::Hash Addresses::hash(const char* at, size_t count) const {
  using namespace hashing;
  unsigned __int128 sum = count;  // of products that don't wait for each other
  uint64_t key = seed_, pair[2];
  for (; count >= 2; count -= 2, at += sizeof pair, key += 2 * kFirst) {
    std::memcpy(pair, at, sizeof pair);
    sum += product(pair[0] ^ key, pair[1] ^ (key + kFirst));
  }
  if (count != 0) {
    std::memcpy(pair, at, sizeof pair[0]);
    sum += product(pair[0] ^ key, key + kFirst);
  }
  return {scrambled(folded(sum), seed_), static_cast<uint32_t>(sum >> 64)};
}

void Addresses::expect(const char* addresses, size_t count) const { stacks_.expect(hash(addresses, count).position); }

uint32_t Addresses::stack(std::span<const uint64_t> addresses) {
  if (addresses.empty()) return 0;
  const auto [position, check] = hash(reinterpret_cast<const char*>(addresses.data()), addresses.size());
  const uint32_t known = stacks_.find_hash(position, check);
  if (known != kNone) return known;
  scratch_.clear();
  for (const uint64_t address : addresses) scratch_.push_back(frame(address));
  const uint32_t number = tables_.stack(scratch_);
  stacks_.add(position, number, check);
  return number;
}

void Addresses::forget() {
  modules_.clear();
  forget_meanings();
}

uint32_t Addresses::frame(uint64_t address) {
  const uint64_t hash = scrambled(address, seed_);
  const uint32_t known = frames_.find_hash(hash);
  if (known != kNone) return known;
  const uint32_t number = new_frame(address);
  frames_.add(hash, number);
  return number;
}

uint32_t Addresses::new_frame(uint64_t address) {
  // A return address may be just beyond the last instruction of its module: the call is what counts.
  const uint64_t call = address - (address != 0);
  auto at = modules_.upper_bound(call);
  if (at != modules_.begin() && call < (--at)->second.end)
    return tables_.frame(at->second.number, 0, address - at->second.base);
  lowest_unknown_ = std::min(lowest_unknown_, call);
  highest_unknown_ = std::max(highest_unknown_, call);
  return tables_.frame(0, process_, address);
}

void Addresses::forget_meanings() {
  stacks_.clear();
  frames_.clear();
  lowest_unknown_ = UINT64_MAX;
  highest_unknown_ = 0;
}

}  // namespace poireau::native
