#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "poireau/native/symbols.h"

namespace poireau::symbols {

/// Strings by number; 0 is the empty one.
class Strings {
 public:
  Strings() { number(""); }
  uint32_t number(std::string_view text);

  std::string bytes;  // with their NULs

 private:
  std::unordered_map<std::string, uint32_t> numbers_;
};

/// The places of addresses, in the order in which they were asked for.
struct Answer {
  std::vector<uint64_t> ends;
  std::vector<uint32_t> function, file, line;
  std::vector<uint8_t> inlined;
  Strings functions, files;
  bool partial = false;

  void add(uint32_t function_number, uint32_t file_number, uint32_t line_number, bool is_inlined);
  /// What follows is of the next address.
  void end() { ends.push_back(function.size()); }

  std::string pack() const;
};

/// An answer as bytes of somebody who may be out of his mind: nothing, unless each number in it is in bounds.
std::optional<PoireauSymbolColumns> unpack(std::string_view bytes, uint64_t addresses, bool& partial);

}  // namespace poireau::symbols
