#include "preload/kinds.h"

#include <span>

namespace poireau {
namespace {

/// The forms of an operator (nothrow, aligned, sized) go by one name; other functions by their own.
constexpr std::string_view kOperatorNames[] = {"", "operator new", "operator new[]", "operator delete",
                                               "operator delete[]"};
constexpr uint8_t operator_of(std::string_view symbol) noexcept {
  if (symbol.starts_with("_Znw")) return 1;
  if (symbol.starts_with("_Zna")) return 2;
  if (symbol.starts_with("_Zdl")) return 3;
  return symbol.starts_with("_Zda") ? 4 : 0;
}
constexpr auto kMakers = for_each_symbol<kKindSymbols>(operator_of);
constexpr auto kTakers = for_each_symbol<kReleaseSymbols>(operator_of);

template <typename Which>
std::string_view name_of(Which which, std::span<const uint8_t> operators) noexcept {
  const auto row = static_cast<size_t>(which);
  if (row >= operators.size()) return "an unknown function";
  return operators[row] != 0 ? kOperatorNames[operators[row]] : symbol_of(which);
}

}  // namespace

std::string_view name_of(Kind kind) noexcept {
  return static_cast<uint8_t>(kind) == kOfPool ? "a pool" : name_of(kind, kMakers);
}
std::string_view name_of(Release release) noexcept { return name_of(release, kTakers); }

}  // namespace poireau
