#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// What syscalls.def says: the functions of libc that hand the program's memory on to the kernel, by number.
namespace poireau::calls {

/// What the kernel does with memory: reads it before anything has happened; fills it with what it then considers read;
/// writes to it, and would again; or writes to it once all is done.
enum class Use : uint8_t { given, filled, told, answered };
/// What lies there, and how much (syscalls.def).
enum class Shape : uint8_t { bytes, string, strings, vector, message, messages, room, bits, mask, perhaps };

constexpr unsigned kParameters = 7;  // as many as any has; as a parameter's number: none

/// Memory that a call is given. Its size is `unit` times what the parameters `by` and `times` say.
struct Memory {
  Use use : 2;
  Shape shape : 4;
  uint16_t at : 3, by : 3, times : 3, narrow : 1;  // narrow: `by` has 32 bits
  uint16_t unit;
};

struct Call {
  std::span<const Memory> memory;
  bool null_fails;
};
[[nodiscard]] Call describe(size_t number) noexcept;
/// The name that people know: not that of the compiler's checked form.
[[nodiscard]] std::string_view name_of(size_t number) noexcept;

/// All names, one behind the other.
[[nodiscard]] const char* names() noexcept;

constexpr size_t kCalls = 0
#define CALL(name, ...) +1
#include "preload/syscalls.def"
#undef CALL
    ;

/// What is added to a call's number where the program asks for it by syscall(2), under the kernel's number. All that
/// are not in the table (vfork, clone, rt_sigreturn, ...) pass untouched.
constexpr size_t kRaw = 256;
static_assert(kCalls < kRaw);

/// An argument as registers and the stack hold it. What a function doesn't know of it doesn't look at.
using Words = uint64_t[kParameters];
using Function = int64_t (*)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

/// Fills `poireau_calls` with what comes after us under each name; nullptr where there is nothing.
void resolve() noexcept;

}  // namespace poireau::calls

extern "C" [[gnu::visibility("hidden")]] poireau::calls::Function poireau_calls[poireau::calls::kCalls];
/// By the kernel's number: the call's, plus one; 0: none.
extern "C" [[gnu::visibility("hidden")]] const std::array<uint8_t, 512> poireau_raw_calls;
