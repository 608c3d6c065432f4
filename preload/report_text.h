#pragma once
#include <cstdint>
#include <span>
#include <string_view>

#include "config/options.h"
#include "preload/report.h"

/// The words of a report.
namespace poireau::report {

using Frames = std::span<const uintptr_t>;

/// When the error shows.
enum class Moment { access, release, later };

constexpr Moment moment_of(Error error) noexcept {
  if (error <= Error::wild_access) return Moment::access;
  return error <= Error::wrong_size ? Moment::release : Moment::later;
}

/// What kind of error it is, in words.
[[nodiscard]] std::string_view title_of(const Report& report) noexcept;

/// Writes all that is known of the error: the first line is one to look for, the others are for people.
[[gnu::noinline]] void write(const Report& report, Frames frames, OnError then) noexcept;

}  // namespace poireau::report
