#include "config/callers.h"

namespace poireau::config {
namespace {

// Numerator, whole-module bit and denominator share a word: a reader gets all of them or none.
constexpr uint64_t kWholeModule = uint64_t{1} << 31;
constexpr uint64_t pack(Rate rate, bool whole) noexcept {
  return uint64_t{rate.numerator} << 32 | (whole ? kWholeModule : 0) | rate.denominator;
}
constexpr Rate unpack(uint64_t packed) noexcept {
  return {static_cast<uint32_t>(packed >> 32), static_cast<uint32_t>(packed & (kWholeModule - 1))};
}

SetResult parse_rate(std::string_view text, Rate& out) noexcept {
  const bool inverse = text.starts_with("1/");
  if (inverse) text.remove_prefix(2);
  uint64_t number = 0;
  const SetResult result = take_number(text, 10, number);
  if (!text.empty()) return SetResult::malformed;
  if (result != SetResult::ok) return result;
  if (number > Callers::kMostRate || (inverse && number == 0)) return SetResult::out_of_range;
  const auto n = static_cast<uint32_t>(number);
  out = inverse ? Rate{1, n} : Rate{n, 1};
  return SetResult::ok;
}

/// Splits `caller` before its offset, if it has one. At the last mark, for names hold + themselves (libstdc++.so.6).
bool split_offset(std::string_view& caller, std::string_view& offset) noexcept {
  constexpr std::string_view kMark = "+0x";
  for (size_t at = caller.size(); at-- > 0;) {
    const std::string_view tail(caller.data() + at, caller.size() - at);
    if (!tail.starts_with(kMark)) continue;
    offset = std::string_view(tail.data() + kMark.size(), tail.size() - kMark.size());
    caller = std::string_view(caller.data(), at);
    return true;
  }
  return false;
}

}  // namespace

SetResult Callers::parse_entry(std::string_view text, Entry& out) noexcept {
  std::string_view caller = trimmed(take_until(text, '=')), offset_text;
  const bool whole = !split_offset(caller, offset_text);
  uint64_t offset = 0;
  if (!whole) {
    const SetResult result = take_number(offset_text, 16, offset);
    if (!offset_text.empty()) return SetResult::malformed;
    if (result != SetResult::ok) return result;
  }
  const std::string_view module = base_name(caller);
  if (module.empty()) return SetResult::malformed;
  Rate rate;
  const SetResult result = parse_rate(trimmed(text), rate);
  out = {module_hash(module), offset, pack(rate, whole)};
  return result;
}

SetResult Callers::parse(std::string_view text, Entries& out, size_t& count) noexcept {
  SetResult result = SetResult::ok;
  while (!text.empty()) {
    const std::string_view item = trimmed(take_until(text, ','));
    if (item.empty()) continue;
    if (count == kMostEntries) return SetResult::out_of_range;
    result = parse_entry(item, out[count++]);
    if (result != SetResult::ok) return result;
  }
  return result;
}

SetResult Callers::set(std::string_view text) noexcept {
  SetResult result = check(text);
  if (result != SetResult::ok) return result;
  Entries entries;
  size_t count = 0;
  result = parse(text, entries, count);
  if (result != SetResult::ok) return result;
  publish(entries, count);
  assign(text);
  return SetResult::ok;
}

void Callers::publish(const Entries& entries, size_t count) noexcept {
  const uint32_t other = 1 - current_.load(std::memory_order_relaxed);
  uint32_t highest = 1;
  for (size_t i = 0; i < kMostEntries; ++i) {
    const Entry entry = i < count ? entries[i] : Entry{};
    lists_[other][i].module.store(entry.module, std::memory_order_relaxed);
    lists_[other][i].offset.store(entry.offset, std::memory_order_relaxed);
    lists_[other][i].rate.store(entry.rate, std::memory_order_relaxed);
    highest = std::max(highest, unpack(entry.rate).numerator);
  }
  above_one_.store(highest - 1, std::memory_order_relaxed);
  current_.store(other, std::memory_order_release);
}

Rate Callers::rate_for(uint64_t module, uint64_t offset) const noexcept {
  uint64_t of_module = 0, of_address = 0;
  for (const Slot& slot : lists_[current_.load(std::memory_order_acquire)]) {
    const uint64_t rate = slot.rate.load(std::memory_order_relaxed);
    if (rate == 0) break;
    if (slot.module.load(std::memory_order_relaxed) != module) continue;
    if ((rate & kWholeModule) != 0)
      of_module = rate;
    else if (slot.offset.load(std::memory_order_relaxed) == offset)
      of_address = rate;
  }
  if (of_address != 0) return unpack(of_address);
  return of_module != 0 ? unpack(of_module) : Rate{};
}

}  // namespace poireau::config
