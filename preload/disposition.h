#pragma once
#include <signal.h>

#include <bit>
#include <cstdint>

#include "preload/base/cpu.h"

/// What the program has set for a signal that a handler of ours has, and that it finds as if it were in force.
namespace poireau {

using Handler = void (*)(int, siginfo_t*, void*);

/// In two words. All-zero: not known.
struct alignas(16) Disposition {
  uint64_t handler_and_flags;  // the handler, 8 flags from the top of sa_flags, kKnown, 7 from the bottom
  uint64_t mask;

  static constexpr uint64_t kKnown = 0x80;
  static constexpr int kOnce = static_cast<int>(SA_RESETHAND), kNested = SA_NODEFER;

  static Disposition of(const struct sigaction& action) noexcept {
    const auto flags = static_cast<unsigned>(action.sa_flags);
    const uint64_t handler = reinterpret_cast<uintptr_t>(action.sa_handler);
    return {handler << 16 | flags >> 24 << 8 | kKnown | (flags & 0x7f), action.sa_mask.__val[0]};
  }
  [[nodiscard]] bool known() const noexcept { return handler_and_flags != 0; }
  [[nodiscard]] bool is(sighandler_t what) const noexcept {
    return handler_and_flags >> 16 == reinterpret_cast<uintptr_t>(what);
  }
  [[nodiscard]] bool calls() const noexcept { return !is(SIG_DFL) && !is(SIG_IGN); }
  [[nodiscard]] Handler handler() const noexcept {
    return reinterpret_cast<Handler>(static_cast<int64_t>(handler_and_flags) >> 16);
  }
  [[nodiscard]] int flags() const noexcept {
    return static_cast<int>((handler_and_flags & 0xff00) << 16 | (handler_and_flags & 0x7f));
  }
  [[nodiscard]] Disposition used_up() const noexcept { return {handler_and_flags & 0xffff, mask}; }
  bool operator==(const Disposition&) const = default;

  /// Makes of what the kernel has for a handler of ours what the program has set.
  void show(struct sigaction& action) const noexcept {
    constexpr int kAltered = SA_SIGINFO | SA_ONSTACK | SA_RESTART | kNested | kOnce;
    action.sa_sigaction = handler();
    action.sa_flags = (action.sa_flags & ~kAltered) | (flags() & kAltered);
    constexpr uint64_t kNever = uint64_t{1} << (SIGKILL - 1) | uint64_t{1} << (SIGSTOP - 1);
    action.sa_mask.__val[0] = mask & ~kNever;
  }
};

/// The disposition behind a handler of ours. Changes are seen by all in the same order.
class Shadow {
 public:
  [[nodiscard]] Disposition get() noexcept { return exchange_if({}, {}); }
  bool replace(const Disposition& before, const Disposition& after) noexcept {
    return exchange_if(before, after) == before;
  }
  Disposition exchange(const Disposition& after) noexcept {
    Disposition before = get();
    while (!replace(before, after)) before = get();
    return before;
  }
  /// For a signal that has come; a handler that is to run once is used up.
  [[nodiscard]] Disposition take() noexcept {
    Disposition behind = get();
    while (behind.calls() && (behind.flags() & Disposition::kOnce) != 0) {
      if (replace(behind, behind.used_up())) break;
      behind = get();  // another thread's signal has used it up
    }
    return behind;
  }

 private:
  Disposition exchange_if(const Disposition& before, const Disposition& after) noexcept {
    return std::bit_cast<Disposition>(
        cpu::exchange_if(words_, std::bit_cast<cpu::TwoWords>(before), std::bit_cast<cpu::TwoWords>(after)));
  }
  alignas(16) cpu::TwoWords words_ = 0;
};

}  // namespace poireau
