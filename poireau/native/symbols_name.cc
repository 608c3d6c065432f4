#include "poireau/native/symbols_name.h"

#include <cxxabi.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "poireau/native/symbols_rust.h"

namespace poireau::symbols {

constexpr size_t kLongest = 16 << 10;  // demangled: what repeats in a name can multiply

std::string as_written(const char* linkage_name) {
  const size_t end = strcspn(linkage_name, "@");
  const std::string name(linkage_name, end);
  if (strcmp(linkage_name + end, "@plt") == 0) return as_written(name.c_str()) + "@plt";
  if (const auto rust = rust_name(name)) return *rust;
  if (!name.starts_with("_Z") || name.size() > kLongest) return name;
  int status = 0;
  const std::unique_ptr<char, decltype(&free)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), free);
  return status != 0 || text == nullptr ? name : without_rust_hash(text.get());
}

}  // namespace poireau::symbols
