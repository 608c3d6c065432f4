#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

/// What the directories of traces are called: YYYYMMDD-HHMMSS-program-pid-random for a run, and for a process
/// YYYYMMDD-HHMMSS-program-pid-start-home-random. Time is UTC, so that the order of names is that of age; the numbers
/// after `pid` are hexadecimal.
namespace poireau::trace {

/// A process, known by its id from the processes that there are now, and by its start (ticks since boot) from those
/// that had the id before. Ids mean nothing outside their `home`: this boot, this namespace of processes; 0: unknown.
struct Maker {
  uint32_t process = 0;
  uint64_t start = 0;
  uint32_t home = 0;
};

/// Ourselves, as far as /proc tells.
[[nodiscard]] bool know_ourselves(Maker& out) noexcept;
/// Whether it has ended for certain. `home` is ours.
[[nodiscard]] bool ended(const Maker& maker, uint32_t home) noexcept;

constexpr size_t kMostProgram = 32;
constexpr size_t kMostName = 15 + 1 + kMostProgram + 1 + 10 + 1 + 16 + 1 + 8 + 1 + 8;
/// Ends with '\0'; empty is none.
using Name = std::array<char, kMostName + 1>;

Name name_of_run(int64_t time, std::string_view program, uint32_t process, uint32_t random) noexcept;
Name name_of_process(int64_t time, std::string_view program, const Maker& maker, uint32_t random) noexcept;
[[nodiscard]] bool is_name_of_run(std::string_view name) noexcept;
[[nodiscard]] bool is_name_of_process(std::string_view name, Maker& out) noexcept;

}  // namespace poireau::trace
