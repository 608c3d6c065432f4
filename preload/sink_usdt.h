#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/event.h"

/// The probes that bpftrace, perf and gdb find in the library: `poireau:alloc` and so on, one for each event, and
/// OpenTelemetry's `otel_memory:alloc(ptr, size, weighted_bytes)` and `otel_memory:free(ptr)`, for sampled blocks only;
/// the weights add up to an estimate of all bytes asked for.
///
/// What the probe of an event passes: its fields, each as 64 bits. Texts are addresses, end at a NUL, and are
/// cut after 255 bytes; bytes and frames take two arguments, where they are and how many.
namespace poireau::usdt {

constexpr size_t kMostArguments = 12;  // for those who read them
constexpr size_t kLongestText = 255;
constexpr int kMostTexts = 2;

enum class Kind : uint8_t { u8, u16, u32, u64, hex, text, bytes, frames };

struct Passed {
  Kind kind;
  uint8_t field;   // its number in the event
  uint8_t offset;  // in the event's struct
};

/// All that one event passes.
struct Signature {
  std::array<Passed, kMostArguments> passed{};
  uint8_t fields = 0, arguments = 0;
};

namespace internal {

/// Not who and when, which the listener knows, nor what has a meaning only beside all other samples.
constexpr bool is_passed(event::Type type, std::string_view field) noexcept {
  return field != "time" && field != "guard_chance" && (field != "thread" || type == event::Type::thread);
}

/// What few ask for stands last: bpftrace reads six.
constexpr bool is_minor(std::string_view field) noexcept {
  for (const std::string_view minor : {"alignment", "period", "since", "by_calls", "guarded", "truncated"})
    if (field == minor) return true;
  return false;
}

consteval Signature signature(event::Type type) {
  Signature own;
  int texts = 0;
  for (const bool minor : {false, true}) {
    uint8_t field = 0;
    const auto add = [&](std::string_view name, Kind kind, size_t offset) {
      const int needed = kind == Kind::bytes || kind == Kind::frames ? 2 : 1;
      if (is_passed(type, name) && is_minor(name) == minor && own.arguments + needed <= int{kMostArguments}) {
        if (offset > UINT8_MAX || (kind == Kind::text && ++texts > kMostTexts))
          __builtin_unreachable();  // won't compile
        own.passed[own.fields++] = {kind, field, static_cast<uint8_t>(offset)};
        own.arguments = static_cast<uint8_t>(own.arguments + needed);
      }
      ++field;
    };
    switch (type) {
#define FIELD(kind, name, help) add(#name, Kind::kind, offsetof(Event, name));
#define EVENT(name, Name, help, ...) \
  case event::Type::name: {          \
    using Event = event::Name;       \
    __VA_ARGS__                      \
    break;                           \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD
      case event::Type::count:
        break;
    }
  }
  return own;
}

consteval std::array<Signature, event::kTypes> signatures() {
  std::array<Signature, event::kTypes> all{};
  for (size_t type = 0; type < event::kTypes; ++type) all[type] = signature(static_cast<event::Type>(type));
  return all;
}

}  // namespace internal

inline constexpr std::array<Signature, event::kTypes> kSignatures = internal::signatures();
constexpr const Signature& signature_of(event::Type type) noexcept { return kSignatures[static_cast<size_t>(type)]; }

}  // namespace poireau::usdt
