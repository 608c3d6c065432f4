#include "preload/calls.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>

#include <type_traits>

constinit poireau::calls::Function poireau_calls[poireau::calls::kCalls]{};

namespace poireau::calls {
namespace {

// The words of syscalls.def. A parameter is its place in the list of them.

constexpr uint8_t kNone = kParameters;

struct List {
  std::array<Memory, 6> memory{};
  size_t size = 0;
  bool null_fails = false;

  consteval List() = default;
  consteval List(Memory one) : memory{one}, size(1) {}
  consteval List operator+(const List& other) const {
    List both = *this;
    for (size_t i = 0; i < other.size; ++i) both.memory[both.size++] = other.memory[i];
    both.null_fails |= other.null_fails;
    return both;
  }
};

template <typename T>
concept Parameter = std::is_enum_v<T>;

struct Size {
  uint8_t by = kNone, times = kNone;
  bool narrow = false;
  uint16_t unit = 1;

  consteval Size(int bytes) : unit(static_cast<uint16_t>(bytes)) {}
  consteval Size(size_t bytes) : unit(static_cast<uint16_t>(bytes)) {}
  template <Parameter T>
  consteval Size(T parameter) : by(static_cast<uint8_t>(parameter)) {}
};
template <Parameter T>
consteval Size each(T count, int bytes) {
  Size size = count;
  size.narrow = true;
  size.unit = static_cast<uint16_t>(bytes);
  return size;
}
template <Parameter T>
consteval Size each(T count, T bytes) {
  Size size = count;
  size.times = static_cast<uint8_t>(bytes);
  return size;
}

consteval List memory(Use use, Shape shape, unsigned at, Size size) {
  return Memory{use,
                shape,
                static_cast<uint16_t>(at & 7),
                static_cast<uint16_t>(size.by & 7),
                static_cast<uint16_t>(size.times & 7),
                size.narrow,
                size.unit};
}
consteval List given(unsigned at, Size size) { return memory(Use::given, Shape::bytes, at, size); }
consteval List filled(unsigned at, Size size) { return memory(Use::filled, Shape::bytes, at, size); }
consteval List told(unsigned at, Size size) { return memory(Use::told, Shape::bytes, at, size); }
consteval List answered(unsigned at, Size size) { return memory(Use::answered, Shape::bytes, at, size); }
consteval List string(unsigned at) { return memory(Use::given, Shape::string, at, 1); }
consteval List strings(unsigned at) { return memory(Use::given, Shape::strings, at, 1); }
consteval List vector(Use use, unsigned at, Size count) { return memory(use, Shape::vector, at, count); }
consteval List message(Use use, unsigned at) { return memory(use, Shape::message, at, 1); }
consteval List messages(Use use, unsigned at) { return memory(use, Shape::messages, at, 1); }
consteval List room(Use use, unsigned at, Size length) { return memory(use, Shape::room, at, length); }
consteval List bits(unsigned at, Size count) { return memory(Use::given, Shape::bits, at, count); }
consteval List mask(unsigned at) { return memory(Use::given, Shape::mask, at, 8); }
consteval List perhaps(unsigned at) { return memory(Use::given, Shape::perhaps, at, 1); }
constexpr List null_fails = [] {
  List list;
  list.null_fails = true;
  return list;
}();

#define PARAMETERS(...) __VA_ARGS__
#define CALL(name, parameters, memory)        \
  [] {                                        \
    enum : uint8_t { PARAMETERS parameters }; \
    return List(memory);                      \
  }(),
constexpr List kLists[] = {
#include "preload/syscalls.def"
};
#undef CALL

consteval size_t total() {
  size_t sum = 0;
  for (const List& list : kLists) sum += list.size;
  return sum;
}

/// All of it in a row, and where each call's begins.
constexpr uint16_t kNullFails = 1 << 15;
struct Table {
  Memory memory[total()];
  uint16_t first[kCalls + 1];
};
constexpr Table kTable = [] {
  Table table{};
  uint16_t size = 0;
  for (size_t number = 0; number < kCalls; ++number) {
    table.first[number] = static_cast<uint16_t>(size | (kLists[number].null_fails ? kNullFails : 0));
    for (size_t i = 0; i < kLists[number].size; ++i) table.memory[size++] = kLists[number].memory[i];
  }
  table.first[kCalls] = size;
  return table;
}();

constexpr char kNames[] =
#define CALL(name, ...) #name "\0"
#include "preload/syscalls.def"
#undef CALL
    ;

/// The number that a text begins with; where it is none, there is no system call of that name.
consteval size_t number_in(const char* text) {
  size_t number = 0;
  for (const char* at = text; *at != '\0'; ++at) {
    if (*at < '0' || *at > '9') return SIZE_MAX;
    number = 10 * number + static_cast<size_t>(*at - '0');
  }
  return number;
}

#define IN_TEXT(...) #__VA_ARGS__
#define TEXT_OF(...) IN_TEXT(__VA_ARGS__)
constexpr auto kRawCalls = [] {
  std::remove_const_t<decltype(poireau_raw_calls)> calls{};
  uint8_t call = 0;
#define CALL(name, ...) \
  ++call;               \
  if (constexpr size_t raw = number_in(TEXT_OF(SYS_##name)); raw < calls.size()) calls[raw] = call;
#include "preload/syscalls.def"
#undef CALL
  return calls;
}();

}  // namespace
}  // namespace poireau::calls

constinit const std::array<uint8_t, 512> poireau_raw_calls = poireau::calls::kRawCalls;

namespace poireau::calls {

Call describe(size_t number) noexcept {
  const size_t begin = kTable.first[number] & (kNullFails - 1), end = kTable.first[number + 1] & (kNullFails - 1);
  return {{kTable.memory + begin, kTable.memory + end}, (kTable.first[number] & kNullFails) != 0};
}

const char* names() noexcept { return kNames; }

std::string_view name_of(size_t number) noexcept {
  const char* at = kNames;
  for (; number > 0; --number) at += std::string_view(at).size() + 1;
  const std::string_view name(at);
  if (!name.starts_with("__")) return name;
  return {name.data() + 2, name.rfind('_') - 2};  // behind it: "chk" or "2"
}

}  // namespace poireau::calls
