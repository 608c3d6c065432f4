#include "config/protect.h"

#include <algorithm>

namespace poireau::config {
namespace {

constexpr std::string_view kTo = "..";

SetResult parse_size(std::string_view text, uint64_t& out) noexcept {
  Size size(0);
  const SetResult result = size.set(trimmed(text));
  out = size.load(std::memory_order_relaxed);
  return result;
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

}  // namespace

SetResult Protect::parse(std::string_view text, Entry& out) noexcept {
  const size_t to = text.find(kTo);
  const bool range = to != text.npos;
  if (!range && !is_digit(text.front())) {
    const std::string_view name = base_name(text);
    out = {module_hash(name), 0};
    return name.empty() ? SetResult::malformed : SetResult::ok;
  }
  const std::string_view first(text.data(), range ? to : text.size());
  out = {0, SIZE_MAX};
  if (!first.empty())
    if (const SetResult result = parse_size(first, out.least); result != SetResult::ok) return result;
  if (!range) {
    out.most = std::max<uint64_t>(out.least, 1);
    return SetResult::ok;
  }
  text.remove_prefix(to + kTo.size());
  if (text.empty()) return first.empty() ? SetResult::malformed : SetResult::ok;
  const SetResult result = parse_size(text, out.most);
  if (result != SetResult::ok) return result;
  return out.most == 0 || out.most < out.least ? SetResult::malformed : SetResult::ok;
}

SetResult Protect::set(std::string_view text) noexcept {
  if (const SetResult result = check(text); result != SetResult::ok) return result;
  std::array<Entry, kMostEntries> sizes{}, callers{};
  size_t size_count = 0, caller_count = 0;
  Which which = text == "off" ? Which::off : text == "all" ? Which::all : Which::sampled;
  if (which == Which::sampled && text != "sampled") {
    which = Which::listed;
    for (std::string_view rest = text; !rest.empty();) {
      const std::string_view item = trimmed(take_until(rest, ','));
      if (item.empty()) continue;
      if (size_count + caller_count == kMostEntries) return SetResult::out_of_range;
      Entry entry{};
      if (const SetResult result = parse(item, entry); result != SetResult::ok) return result;
      if (entry.most == 0)
        callers[caller_count++] = entry;
      else
        sizes[size_count++] = entry;
    }
    if (size_count + caller_count == 0) return SetResult::malformed;
  }
  std::copy(callers.begin(), callers.begin() + caller_count, sizes.begin() + size_count);
  entries_ = sizes;
  count_ = static_cast<uint8_t>(size_count + caller_count);
  callers_ = static_cast<uint8_t>(caller_count);
  which_ = which;
  assign(text);
  return SetResult::ok;
}

bool Protect::wants_size(size_t size) const noexcept {
  return std::any_of(entries_.begin(), entries_.begin() + (count_ - callers_),
                     [size](const Entry& entry) { return size >= entry.least && size <= entry.most; });
}

bool Protect::has_callers() const noexcept { return callers_ != 0; }

bool Protect::wants_caller(uint64_t module) const noexcept {
  return std::any_of(entries_.begin() + (count_ - callers_), entries_.begin() + count_,
                     [module](const Entry& entry) { return entry.least == module; });
}

}  // namespace poireau::config
