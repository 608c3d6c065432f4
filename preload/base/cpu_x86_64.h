#pragma once
#include <cstddef>
#include <cstdint>

/// The few instructions C++ can't ask for. One such file a processor; CMake picks it.
namespace poireau::cpu {

/// An offset from the thread pointer that nobody uses and every new thread finds zero: glibc keeps these 512
/// bytes of the thread control block only for the sake of its size. The loader may call us before it has
/// relocated us, when the offset of our own thread-local state is still unknown; then we count here.
constexpr ptrdiff_t kUnusedThreadWord = 0x80;

/// The calling thread's, which no other has; in a fork child it is the same.
inline uintptr_t thread_pointer() noexcept { return reinterpret_cast<uintptr_t>(__builtin_thread_pointer()); }

inline ptrdiff_t offset_from_thread_pointer(const void* thread_local_object) noexcept {
  return reinterpret_cast<intptr_t>(thread_local_object) - reinterpret_cast<intptr_t>(__builtin_thread_pointer());
}

inline void store_thread_word(ptrdiff_t offset, uint64_t value) noexcept {
  asm volatile("mov %[value], %%fs:(%[offset])" ::[value] "r"(value), [offset] "r"(offset) : "memory");
}

/// Subtracts max(amount, 1) from the thread's word at `offset`; true when it ran below zero. One instruction on
/// memory, so a signal handler that interrupts sees it whole. The compare turns amount 0 into a borrow of 1.
inline bool count_down(ptrdiff_t offset, uint64_t amount) noexcept {
  bool below;
  asm volatile(
      "cmp $1, %[amount]\n\t"
      "sbb %[amount], %%fs:(%[offset])"
      : "=@ccb"(below)
      : [amount] "r"(amount), [offset] "r"(offset)
      : "memory");
  return below;
}

/// The opposite of `count_down`.
inline void count_up(ptrdiff_t offset, uint64_t amount) noexcept {
  asm volatile(
      "cmp $1, %[amount]\n\t"
      "adc %[amount], %%fs:(%[offset])" ::[amount] "r"(amount),
      [offset] "r"(offset)
      : "memory", "cc");
}

inline uint64_t load_thread_word(ptrdiff_t offset) noexcept {
  uint64_t value;
  asm volatile("mov %%fs:(%[offset]), %[value]" : [value] "=r"(value) : [offset] "r"(offset) : "memory");
  return value;
}

/// Whether bits 46 and 45 of a user-space address are 0 and 1 (bit 47 is 0 in all of them), given `floor` = 2^62.
/// Shifted left by 17 they become the sign and the bit below it, and the four quarters of the address space
/// compare as signed numbers: only this one is at least 2^62. A `floor` of INT64_MIN takes every address.
inline bool in_second_quarter(const void* address, const int64_t& floor) noexcept {
  bool inside;
  int64_t shifted;
  asm("imul $0x20000, %[address], %[shifted]\n\t"
      "cmp %[floor], %[shifted]"
      : "=@ccge"(inside), [shifted] "=&r"(shifted)
      : [address] "r"(address), [floor] "m"(floor));
  return inside;
}

/// memset and memcpy for the time before relocation, when a call into libc would jump into nowhere.
inline void fill_zero(void* to, size_t size) noexcept {
  asm volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(0) : "memory");
}
inline void copy(void* to, const void* from, size_t size) noexcept {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

/// Two words that are read and replaced as one.
__extension__ using TwoWords = unsigned __int128;
/// Makes `words` `wanted` if they are `expected`; returns what they were.
[[gnu::target("cx16")]] inline TwoWords exchange_if(TwoWords& words, TwoWords expected, TwoWords wanted) noexcept {
  return __sync_val_compare_and_swap(&words, expected, wanted);
}

/// Says that we wait for another thread.
inline void pause() noexcept { __builtin_ia32_pause(); }

/// A clock that needs no kernel, for telling things apart (not for telling time).
inline uint64_t ticks() noexcept { return __builtin_ia32_rdtsc(); }

}  // namespace poireau::cpu
