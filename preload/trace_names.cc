#include "preload/trace_names.h"

#include <algorithm>
#include <span>

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"

namespace poireau::trace {
namespace {

constexpr size_t kTimeSize = 15;  // YYYYMMDD-HHMMSS

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
constexpr bool is_sane(char c) noexcept {
  return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '+' ||
         c == '-';
}

struct Date {
  int64_t year;
  unsigned month, day;
};

/// The Gregorian calendar, in years that begin in March: so the leap day comes last.
Date date_of(int64_t days_since_1970) noexcept {
  constexpr int64_t kDaysOfEra = 146097;          // 400 years
  const int64_t days = days_since_1970 + 719468;  // since the first of March of the year 0
  const int64_t era = days / kDaysOfEra;
  const auto day_of_era = static_cast<unsigned>(days % kDaysOfEra);
  const unsigned year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned month = (5 * day_of_year + 2) / 153;
  return {era * 400 + year_of_era + (month >= 10), month < 10 ? month + 3 : month - 9,
          day_of_year - (153 * month + 2) / 5 + 1};
}

class Writer {
 public:
  Writer(Name& out, int64_t now, std::string_view name, uint32_t process) noexcept : to_(out.data()) {
    time(now);
    program(name);
    number(process, 10);
  }
  void decimal(uint64_t number, int digits) noexcept {
    for (int at = digits; at-- > 0; number /= 10) to_[at] = static_cast<char>('0' + number % 10);
    to_ += digits;
  }
  /// After a dash.
  void number(uint64_t number, unsigned base) noexcept {
    *to_++ = '-';
    to_ = write_number(to_, number, base);
  }
  void time(int64_t seconds) noexcept {
    constexpr int64_t kLastYear = 253402300799;  // 9999-12-31T23:59:59
    seconds = std::clamp<int64_t>(seconds, 0, kLastYear);
    const Date date = date_of(seconds / 86400);
    const auto of_day = static_cast<unsigned>(seconds % 86400);
    decimal(static_cast<uint64_t>(date.year), 4);
    decimal(date.month, 2);
    decimal(date.day, 2);
    *to_++ = '-';
    decimal(of_day / 3600, 2);
    decimal(of_day / 60 % 60, 2);
    decimal(of_day % 60, 2);
  }
  /// After a dash.
  void program(std::string_view name) noexcept {
    if (name.empty()) name = "unknown";
    *to_++ = '-';
    for (size_t at = 0; at < name.size() && at < kMostProgram; ++at) *to_++ = is_sane(name[at]) ? name[at] : '_';
  }

 private:
  char* to_;
};

/// Takes the number that stands behind the last dash off `rest`.
bool take_number(std::string_view& rest, unsigned base, uint64_t most, uint64_t& out) noexcept {
  const size_t dash = rest.rfind('-');
  if (dash == rest.npos) return false;
  std::string_view text = rest;
  text.remove_prefix(dash + 1);
  rest.remove_suffix(rest.size() - dash);
  return read_number(text, base, most, out);
}

/// Whether it is a time and a program.
bool is_beginning(std::string_view text) noexcept {
  if (text.size() < kTimeSize + 2 || text.size() > kTimeSize + 1 + kMostProgram) return false;
  for (size_t at = 0; at < text.size(); ++at) {
    const bool dash = at == 8 || at == kTimeSize;
    if (dash ? text[at] != '-' : at < kTimeSize ? !is_digit(text[at]) : !is_sane(text[at])) return false;
  }
  return true;
}

/// The file's first bytes, as many as there is room for.
std::string_view read_start(const char* path, std::span<char> room) noexcept {
  const int file = sys::open_to_read(path);
  if (file < 0) return {};
  const int64_t got = sys::read(file, room);
  sys::close(file);
  return got <= 0 ? std::string_view() : std::string_view(room.data(), static_cast<size_t>(got));
}

/// When the process started that has this /proc/<pid>/stat. False: that can't be known.
bool start_of(const char* path, uint64_t& out) noexcept {
  std::array<char, 512> room;
  std::string_view text = read_start(path, room);
  const size_t end_of_program = text.rfind(')');  // of which any character may be part
  if (end_of_program == text.npos) return false;
  text.remove_prefix(end_of_program);
  for (int field = 2; field < 22; ++field) {
    const size_t space = text.find(' ');
    if (space == text.npos) return false;
    text.remove_prefix(space + 1);
  }
  const size_t end = text.find(' ');
  if (end == text.npos) return false;
  text.remove_suffix(text.size() - end);
  return read_number(text, 10, UINT64_MAX, out);
}

uint64_t hash(uint64_t seed, std::string_view text) noexcept {
  for (const char c : text) seed = scramble(seed + static_cast<unsigned char>(c) + 1);
  return seed;
}

uint32_t our_home() noexcept {
  std::array<char, 64> room;
  const std::string_view boot = read_start("/proc/sys/kernel/random/boot_id", room);
  if (boot.empty()) return 0;
  const uint64_t seed = hash(0, boot);
  const std::string_view ids = sys::read_link("/proc/self/ns/pid", room);
  return ids.empty() ? 0 : static_cast<uint32_t>(hash(seed, ids)) | 1;
}

}  // namespace

bool know_ourselves(Maker& out) noexcept {
  const int process = sys::process_id();
  if (process <= 0) return false;
  out = {static_cast<uint32_t>(process), 0, our_home()};
  if (!start_of("/proc/self/stat", out.start)) out.home = 0;
  return true;
}

bool ended(const Maker& maker, uint32_t home) noexcept {
  if (home == 0 || maker.home != home) return false;
  if (sys::no_such_process(static_cast<int>(maker.process))) return true;
  char path[32] = "/proc/";
  std::copy_n("/stat", 6, write_number(path + 6, maker.process));
  uint64_t start;
  return start_of(path, start) && start != maker.start;
}

Name name_of_run(int64_t time, std::string_view program, uint32_t process, uint32_t random) noexcept {
  Name name{};
  Writer to(name, time, program, process);
  to.number(random, 16);
  return name;
}

Name name_of_process(int64_t time, std::string_view program, const Maker& maker, uint32_t random) noexcept {
  Name name{};
  Writer to(name, time, program, maker.process);
  to.number(maker.start, 16);
  to.number(maker.home, 16);
  to.number(random, 16);
  return name;
}

bool is_name_of_run(std::string_view name) noexcept {
  uint64_t number;
  return take_number(name, 16, UINT32_MAX, number) && take_number(name, 10, INT32_MAX, number) && is_beginning(name);
}

bool is_name_of_process(std::string_view name, Maker& out) noexcept {
  uint64_t process, home, random;
  if (!take_number(name, 16, UINT32_MAX, random) || !take_number(name, 16, UINT32_MAX, home) ||
      !take_number(name, 16, UINT64_MAX, out.start) || !take_number(name, 10, INT32_MAX, process))
    return false;
  out.process = static_cast<uint32_t>(process);
  out.home = static_cast<uint32_t>(home);
  return is_beginning(name) && process != 0;
}

}  // namespace poireau::trace
