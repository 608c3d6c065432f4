#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "poireau/native/table_tables.h"

/// What the addresses of one process mean, at the time that its events have come to: modules come and take the place
/// of others.
namespace poireau::native {

class Addresses {
 public:
  Addresses(Tables& tables, uint32_t process);

  /// From now on `size` bytes from `begin` on are of this file, whose addresses are shifted by `base`. What it
  /// overlaps is no longer there.
  void module(uint64_t base, uint64_t begin, uint64_t size, std::string_view path, std::span<const uint8_t> build_id);
  /// The number of the stack of these return addresses, innermost first.
  uint32_t stack(std::span<const uint64_t> addresses);
  /// So many addresses, aligned or not, will soon be asked for: memory is slow.
  void expect(const char* addresses, size_t count) const;
  /// Back to none.
  void forget();

 private:
  struct Module {
    uint64_t end, base;
    uint32_t number;
    bool operator==(const Module&) const = default;
  };
  struct Hash {
    uint64_t position;
    uint32_t check;
  };
  [[nodiscard]] Hash hash(const char* addresses, size_t count) const;
  uint32_t frame(uint64_t address);
  uint32_t new_frame(uint64_t address);
  void forget_meanings();

  Tables& tables_;
  const uint32_t process_;
  const uint64_t seed_;
  std::map<uint64_t, Module> modules_;                          // by where they begin; they don't overlap
  uint64_t lowest_unknown_ = UINT64_MAX, highest_unknown_ = 0;  // addresses in no module that have been asked for
  Index stacks_, frames_;                                       // numbers by what was asked for
  std::vector<uint32_t> scratch_;
};

}  // namespace poireau::native
