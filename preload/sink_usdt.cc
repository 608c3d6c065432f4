#include "preload/sink_usdt.h"

#include <algorithm>
#include <cstdint>

#include "preload/event.h"
#include "preload/sink.h"

#define _SDT_HAS_SEMAPHORES 1
#include <sys/sdt.h>

// How many listen to a probe; whoever attaches adds one. Our own under a well-known name: a program that `libpoireau.a`
// is linked to may have the same probes.
#define SEMAPHORE(name) [[gnu::used, gnu::section(".probes")]] static volatile unsigned short name __asm__(#name) = 0;
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) SEMAPHORE(poireau_##name##_semaphore)
#include "preload/event.def"
#undef EVENT
#undef FIELD
SEMAPHORE(otel_memory_alloc_semaphore)
SEMAPHORE(otel_memory_free_semaphore)

namespace poireau::sink {
namespace {

using event::Type;

/// What a sampled request stands for: step / (1 - exp(-step / period)), times `scale`. Right to a ten millionth, and in
/// integers (exponential.h says why): step / 2 + period * y coth y with y = step / (2 * period), and Lambert's
/// y coth y = 1 + y^2 / (3 + y^2 / (5 + y^2 / (7 + ...))).
constexpr uint64_t weighted(uint64_t step, uint64_t period, uint64_t scale) noexcept {
  constexpr unsigned kFraction = 24;
  constexpr uint64_t kTerms = 16;
  const uint64_t whole = step / period;
  if (period == 1 || whole >= 20) return step * scale;  // 1: every call is taken
  const uint64_t y = (whole << (kFraction - 1)) + ((step % period << (kFraction - 1)) / period);
  const uint64_t square = y * y >> kFraction;
  uint64_t fraction = (2 * kTerms + 1) << kFraction;
  for (uint64_t odd = 2 * kTerms - 1; odd + 1 != 0; odd -= 2)
    fraction = (odd << kFraction) + (square << kFraction) / fraction;
  const unsigned __int128 sum =
      (static_cast<unsigned __int128>(step) << (kFraction - 1)) + static_cast<unsigned __int128>(period) * fraction;
  return static_cast<uint64_t>(sum * scale >> kFraction);
}
static_assert(weighted(1, 1, 7) == 7);
static_assert(weighted(512 << 10, 512 << 10, 1) == 829'411);
static_assert(weighted(64, uint64_t{1} << 40, 1) == (uint64_t{1} << 40) + 32);

[[gnu::noinline]] uint64_t weighted_bytes(uint64_t size, uint64_t period, bool by_calls) noexcept {
  const uint64_t counted = std::max<uint64_t>(size, 1);  // as the sampler does
  return by_calls ? weighted(1, period, counted) : weighted(counted, period, 1);
}

/// As the probes pass them.
struct Arguments {
  uint64_t values[usdt::kMostArguments];
  char texts[usdt::kMostTexts * (usdt::kLongestText + 1)];
};

uint64_t address_of(const void* data) noexcept { return reinterpret_cast<uintptr_t>(data); }

void collect(const usdt::Signature& signature, const void* event, Arguments& out) noexcept {
  uint64_t* value = out.values;
  char* text = out.texts;
  for (const usdt::Passed* passed = signature.passed.data(); passed != signature.passed.data() + signature.fields;
       ++passed) {
    const void* const field = static_cast<const char*>(event) + passed->offset;
    const auto read = [field]<typename Kind>(Kind) { return *static_cast<const Kind*>(field); };
    const auto put_both = [&value](const auto& elements) {
      *value++ = address_of(elements.data());
      *value++ = elements.size();
    };
    switch (passed->kind) {
      case usdt::Kind::u8:
        *value++ = read(event::kinds::u8{});
        break;
      case usdt::Kind::u16:
        *value++ = read(event::kinds::u16{});
        break;
      case usdt::Kind::u32:
        *value++ = read(event::kinds::u32{});
        break;
      case usdt::Kind::u64:
        *value++ = read(event::kinds::u64{});
        break;
      case usdt::Kind::hex:
        *value++ = read(event::kinds::hex{}).value;
        break;
      case usdt::Kind::bytes:
        put_both(read(event::kinds::bytes{}));
        break;
      case usdt::Kind::frames:
        put_both(read(event::kinds::frames{}));
        break;
      case usdt::Kind::text:
        *value++ = address_of(text);
        text += read(event::kinds::text{}).copy(text, usdt::kLongestText);
        *text++ = '\0';
        break;
    }
  }
}

// The number of a probe's arguments is in the name of the macro that makes it.
#define FIRST_1 values[0]
#define FIRST_2 FIRST_1, values[1]
#define FIRST_3 FIRST_2, values[2]
#define FIRST_4 FIRST_3, values[3]
#define FIRST_5 FIRST_4, values[4]
#define FIRST_6 FIRST_5, values[5]
#define FIRST_7 FIRST_6, values[6]
#define FIRST_8 FIRST_7, values[7]
#define FIRST_9 FIRST_8, values[8]
#define FIRST_10 FIRST_9, values[9]
#define FIRST_11 FIRST_10, values[10]
#define FIRST_12 FIRST_11, values[11]
#define PROBE(count, provider, name, ...) STAP_PROBE##count(provider, name, __VA_ARGS__)
#define PROBE_OF(count, name) \
  if constexpr (usdt::signature_of(Type::name).arguments == count) PROBE(count, poireau, name, FIRST_##count)

[[gnu::noinline]] void fire(Type type, const void* event) noexcept {
  Arguments arguments;
  collect(usdt::signature_of(type), event, arguments);
  __asm__ volatile("" : : : "memory");  // the compiler doesn't see who reads the texts
  const auto& values = arguments.values;
  switch (type) {
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) \
  case Type::name:                   \
    PROBE_OF(1, name);               \
    PROBE_OF(2, name);               \
    PROBE_OF(3, name);               \
    PROBE_OF(4, name);               \
    PROBE_OF(5, name);               \
    PROBE_OF(6, name);               \
    PROBE_OF(7, name);               \
    PROBE_OF(8, name);               \
    PROBE_OF(9, name);               \
    PROBE_OF(10, name);              \
    PROBE_OF(11, name);              \
    PROBE_OF(12, name);              \
    break;
#include "preload/event.def"
#undef EVENT
    case Type::count:
      break;
  }
}

[[gnu::noinline]] void fire_otel_alloc(uint64_t address, uint64_t size, uint64_t weighted) noexcept {
  STAP_PROBE3(otel_memory, alloc, address, size, weighted);
}
[[gnu::noinline]] void fire_otel_free(uint64_t address) noexcept { STAP_PROBE1(otel_memory, free, address); }

bool is_heard(Type type) noexcept {
  switch (type) {
#define EVENT(name, Name, help, ...) \
  case Type::name:                   \
    return poireau_##name##_semaphore != 0;
#include "preload/event.def"
#undef EVENT
#undef FIELD
    case Type::count:
      break;
  }
  return false;
}

constexpr bool is_birth(Type type) noexcept { return type == Type::alloc || type == Type::resize; }
constexpr bool is_death(Type type) noexcept { return type == Type::free || type == Type::resize; }

bool anybody_listens(Type type) noexcept {
  return (is_birth(type) && otel_memory_alloc_semaphore != 0) || (is_death(type) && otel_memory_free_semaphore != 0) ||
         is_heard(type);
}

void write(const event::Any& any) noexcept {
  if (is_heard(any.type())) fire(any.type(), any.visit([](const auto& event) -> const void* { return &event; }));
  any.visit([]<typename Event>(const Event& event) {
    if constexpr (is_death(Event::kType))
      if (otel_memory_free_semaphore != 0) fire_otel_free(event.address.value);
    if constexpr (is_birth(Event::kType))
      if (otel_memory_alloc_semaphore != 0)
        fire_otel_alloc(event.address.value, event.size, weighted_bytes(event.size, event.period, event.by_calls));
  });
}

}  // namespace

constinit const Sink kUsdt{"usdt", anybody_listens, write};

}  // namespace poireau::sink
