#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "config/options.h"

namespace poireau::config {

/// Takes one line, without its end.
using Complaints = void (*)(std::string_view line);

/// A place settings come from, as messages call it; after `kMostComplaints` about it the rest is cut short.
struct Source {
  std::string_view name;
  uint32_t complaints = 0;
};

/// Where in its source a setting stands. Line 0: the source has no lines, it is the environment.
struct Place {
  Source& source;
  uint32_t line;
  std::string_view key, value;
};

/// Complaints wait here until the last source has said (`log`) whether anybody wants them. All-zero: none.
class PendingComplaints {
 public:
  /// A source that can't be used as a whole.
  void about_source(Source& source, std::string_view problem) noexcept;
  /// A line that makes no setting.
  void about_line(const Place& place, std::string_view problem) noexcept;
  /// A setting that `set` refused.
  void about_setting(const Place& place, SetResult result) noexcept;
  /// Hands the lines to `sink`, or to nobody if it is nullptr, and forgets them.
  void settle(Complaints sink) noexcept;

 private:
  /// Whether the source may complain once more. Says so when it may not.
  bool admit(Source& source) noexcept;
  void keep(std::string_view line) noexcept;

  std::array<char, 8192> lines_{};  // each ends with \n, which no line contains
  size_t used_ = 0;
  bool full_ = false;
};

}  // namespace poireau::config
