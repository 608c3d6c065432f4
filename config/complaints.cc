#include "config/complaints.h"

#include "config/explain.h"

namespace poireau::config {
namespace {

constexpr uint32_t kMostComplaints = 8;
constexpr size_t kMostPath = 160, kMostKey = 40, kMostValue = 60;
constexpr std::string_view kFurther = "further errors not shown", kFull = "poireau: further errors not shown";
// Named, for choosing between two literals would need strlen.
constexpr std::string_view kEquals = "=", kSpacedEquals = " = ", kNothing = "\"\"";

void start(Text& line, const Source& source) noexcept {
  line << "poireau: ";
  add_foreign(line, source.name, kMostPath);
}

void start(Text& line, const Place& place) noexcept {
  if (place.line == 0) {
    line << "poireau: ";
  } else {
    start(line, place.source);
    line << ":" << uint64_t{place.line} << ": ";
  }
}

/// The key as the user spelled it: environment variables are in upper case.
void add_key(Text& line, const Place& place) noexcept {
  if (place.line != 0) return add_foreign(line, place.key, kMostKey);
  std::array<char, kMostKey + 1> spelled;
  const size_t length = std::min(place.key.size(), spelled.size());
  std::transform(place.key.begin(), place.key.begin() + length, spelled.begin(), upper);
  line << "POIREAU_";
  add_foreign(line, std::string_view(spelled.data(), length), kMostKey);
}

// Not inlined: two Texts are too much for one frame.
[[gnu::noinline]] void add_current(Text& line, std::string_view key) noexcept {
  Text scratch;
  const std::string_view current = get(key, scratch).value_or("");
  line << "; keeping ";
  add_foreign(line, current.empty() ? kNothing : current, kMostValue);
}

}  // namespace

bool PendingComplaints::admit(Source& source) noexcept {
  if (++source.complaints <= kMostComplaints) return true;
  if (source.complaints == kMostComplaints + 1) {
    Text line;
    start(line, source);
    line << ": " << kFurther;
    keep(line.view());
  }
  return false;
}

void PendingComplaints::about_source(Source& source, std::string_view problem) noexcept {
  if (!admit(source)) return;
  Text line;
  start(line, source);
  line << ": " << problem << "; going on without it";
  keep(line.view());
}

void PendingComplaints::about_line(const Place& place, std::string_view problem) noexcept {
  if (!admit(place.source)) return;
  Text line;
  start(line, place);
  if (!place.key.empty()) {
    add_key(line, place);
    line << ": ";
  }
  line << problem;
  if (find(place.key) != nullptr) add_current(line, place.key);
  keep(line.view());
}

void PendingComplaints::about_setting(const Place& place, SetResult result) noexcept {
  if (!admit(place.source)) return;
  Text line;
  start(line, place);
  if (result == SetResult::unknown) {
    if (place.line == 0) {
      add_key(line, place);
      line << ": ";
    }
    explain(line, place.key, result);
  } else {
    add_key(line, place);
    line << (place.line == 0 ? kEquals : kSpacedEquals) << "\"";
    add_foreign(line, place.value, kMostValue);
    line << "\": ";
    explain(line, place.key, result);
    add_current(line, place.key);
  }
  keep(line.view());
}

void PendingComplaints::keep(std::string_view line) noexcept {
  if (full_) return;
  full_ = line.size() + 1 + kFull.size() + 1 > lines_.size() - used_;
  if (full_) line = kFull;
  std::memcpy(lines_.data() + used_, line.data(), line.size());
  used_ += line.size();
  lines_[used_++] = '\n';
}

void PendingComplaints::settle(Complaints sink) noexcept {
  if (used_ == 0) return;  // most processes never touch this memory
  std::string_view rest(lines_.data(), used_);
  used_ = 0;
  full_ = false;
  while (sink != nullptr && !rest.empty()) sink(take_until(rest, '\n'));
}

}  // namespace poireau::config
