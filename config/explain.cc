#include "config/explain.h"

namespace poireau::config {
namespace {

constexpr size_t kMostName = 32;

/// How many letters must be changed, added or left out to make one of the other. Names of at most kMostName.
size_t edits(std::string_view from, std::string_view to) noexcept {
  std::array<size_t, kMostName + 1> row;
  for (size_t j = 0; j <= to.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      const size_t changed = diagonal + (lower(from[i - 1]) == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({changed, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[to.size()];
}

/// The option's name that was probably meant; empty when none is like it.
std::string_view nearest(std::string_view name) noexcept {
  std::string_view best;
  size_t fewest = 3;
  if (name.size() > kMostName) return best;
  for (const OptionInfo& option : all_options()) {
    const size_t distance = edits(name, option.name());
    if (distance < fewest && distance * 2 < option.name().size()) {
      fewest = distance;
      best = option.name();
    }
  }
  return best;
}

}  // namespace

void add_foreign(Text& out, std::string_view text, size_t most) noexcept {
  constexpr std::string_view kCut = "...", kHex = "0123456789abcdef";
  size_t used = 0;
  for (const char c : text) {
    const size_t width = printable(c) ? 1 : 4;
    if (used + width > most) {
      out << kCut;
      return;
    }
    used += width;
    const auto byte = static_cast<unsigned char>(c);
    const char escaped[] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    out << (printable(c) ? std::string_view(&c, 1) : std::string_view(escaped, sizeof escaped));
  }
}

void explain(Text& out, std::string_view name, SetResult result) noexcept {
  const OptionInfo* option = find(name);
  if (option == nullptr) {
    out << "no option is called \"";
    add_foreign(out, name, 2 * kMostName);
    out << "\"";
    if (const std::string_view meant = nearest(name); !meant.empty()) out << "; did you mean " << meant << "?";
  } else if (result == SetResult::too_late) {
    out << "can only be set before the program starts";
  } else if (result == SetResult::out_of_range) {
    out << "out of range (" << option->range() << ")";
  } else {
    out << "not " << option->wanted();
  }
}

}  // namespace poireau::config
