#include "poireau/native/symbols_answer.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

namespace poireau::symbols {
namespace {

constexpr uint64_t kMagic = 0x6c6f626d79732001;
// Counts come first, then the arrays, each from a multiple of eight.
enum Count { kMark, kPartial, kAddresses, kPlaces, kFunctions, kFiles, kCounts };
using Counts = std::array<uint64_t, kCounts>;

constexpr size_t rounded(size_t size) { return (size + 7) & ~size_t{7}; }

template <typename Array>
void append(std::string& out, const Array& array) {
  out.append(reinterpret_cast<const char*>(array.data()), array.size() * sizeof(array[0]));
  out.resize(rounded(out.size()));
}

/// Takes arrays off the front of bytes; all that follow an end are empty.
struct Taker {
  std::string_view left;
  bool short_of = false;

  template <typename Item>
  std::span<const Item> take(uint64_t count) {
    if (count > left.size() / sizeof(Item) || rounded(count * sizeof(Item)) > left.size()) {
      short_of = true;
      return {};
    }
    const std::span got(reinterpret_cast<const Item*>(left.data()), count);
    left.remove_prefix(rounded(count * sizeof(Item)));
    return got;
  }
};

bool are_ends(std::span<const uint64_t> ends, uint64_t last) {
  return std::is_sorted(ends.begin(), ends.end()) && (ends.empty() ? last == 0 : ends.back() == last);
}

bool are_of(std::span<const uint32_t> numbers, std::span<const char> strings) {
  if (!strings.empty() && strings.back() != '\0') return false;
  const auto bound = std::count(strings.begin(), strings.end(), '\0');
  return std::all_of(numbers.begin(), numbers.end(), [&](uint32_t number) { return number < bound; });
}

}  // namespace

uint32_t Strings::number(std::string_view text) {
  const auto [at, is_new] = numbers_.try_emplace(std::string(text), static_cast<uint32_t>(numbers_.size()));
  if (is_new) (bytes += text) += '\0';
  return at->second;
}

void Answer::add(uint32_t function_number, uint32_t file_number, uint32_t line_number, bool is_inlined) {
  function.push_back(function_number);
  file.push_back(file_number);
  line.push_back(line_number);
  inlined.push_back(is_inlined);
}

std::string Answer::pack() const {
  const Counts counts{kMagic, partial, ends.size(), function.size(), functions.bytes.size(), files.bytes.size()};
  std::string out;
  append(out, counts);
  append(out, ends);
  append(out, function);
  append(out, file);
  append(out, line);
  append(out, inlined);
  append(out, functions.bytes);
  append(out, files.bytes);
  return out;
}

std::optional<PoireauSymbolColumns> unpack(std::string_view bytes, uint64_t addresses, bool& partial) {
  Counts counts{};
  if (bytes.size() < sizeof(counts)) return std::nullopt;
  memcpy(counts.data(), bytes.data(), sizeof(counts));
  if (counts[kMark] != kMagic || counts[kAddresses] != addresses) return std::nullopt;
  Taker taker{bytes.substr(sizeof(counts))};
  const auto ends = taker.take<uint64_t>(counts[kAddresses]);
  const auto function = taker.take<uint32_t>(counts[kPlaces]);
  const auto file = taker.take<uint32_t>(counts[kPlaces]);
  const auto line = taker.take<uint32_t>(counts[kPlaces]);
  const auto inlined = taker.take<uint8_t>(counts[kPlaces]);
  const auto functions = taker.take<char>(counts[kFunctions]);
  const auto files = taker.take<char>(counts[kFiles]);
  if (taker.short_of || !are_ends(ends, counts[kPlaces]) || !are_of(function, functions) || !are_of(file, files)) {
    return std::nullopt;
  }
  partial = counts[kPartial] != 0;
  return PoireauSymbolColumns{ends.size(),  ends.data(),      function.size(), function.data(),
                              file.data(),  line.data(),      inlined.data(),  functions.data(),
                              files.data(), functions.size(), files.size()};
}

}  // namespace poireau::symbols
