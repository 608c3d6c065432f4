#include "preload/callers.h"

#include <algorithm>

#include "config/options.h"
#include "preload/base/text.h"
#include "preload/module.h"
#include "preload/process.h"

namespace poireau::callers {
namespace {

constexpr uint64_t kLongest = uint64_t{1} << 50;

}  // namespace

uint64_t finest(uint64_t base) noexcept {
  return base == 0 ? 0 : std::max<uint64_t>(base / options.callers.highest_rate(), 1);
}

uint64_t period_of(const void* caller, uint64_t base) noexcept {
  const Module module = module_of(caller);
  const std::string_view name = module.path.empty() ? process::program() : base_name(module.path);
  const Rate rate = options.callers.rate_for(module_hash(name), reinterpret_cast<uintptr_t>(caller) - module.base);
  if (rate.numerator == 0) return kNever;
  return std::clamp(base * rate.denominator / rate.numerator, uint64_t{1}, kLongest);
}

}  // namespace poireau::callers
