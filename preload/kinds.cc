#include "preload/kinds.h"

namespace poireau {
namespace {

/// The forms of an operator (nothrow, aligned, sized) go by one name.
constexpr std::string_view readable(std::string_view symbol) noexcept {
  if (symbol.starts_with("_Znw")) return "operator new";
  if (symbol.starts_with("_Zna")) return "operator new[]";
  if (symbol.starts_with("_Zdl")) return "operator delete";
  if (symbol.starts_with("_Zda")) return "operator delete[]";
  return symbol.empty() ? "an unknown function" : symbol;
}

}  // namespace

std::string_view name_of(Kind kind) noexcept { return readable(symbol_of(kind)); }
std::string_view name_of(Release release) noexcept { return readable(symbol_of(release)); }

}  // namespace poireau
