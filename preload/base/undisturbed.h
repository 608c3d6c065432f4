#pragma once
#include <atomic>
#include <csignal>

#include "preload/base/sys.h"

namespace poireau {

/// Meanwhile no signal handler of the program comes between, but those of faults. A handler may fork, and its child
/// return to what was interrupted: that must not find that others have put right what it was at.
class Undisturbed {
 public:
  /// Whether the program has ever set a handler; there is nothing to be done before.
  static inline constinit std::atomic<bool> handlers{false};

  /// `may_ask`: no filter of system calls is in the way.
  explicit Undisturbed(bool may_ask) noexcept
      : holds_(handlers.load(std::memory_order_relaxed) && may_ask && sys::block_signals(~kFaults, before_)) {}
  ~Undisturbed() {
    if (holds_) sys::set_blocked_signals(before_);
  }
  Undisturbed(const Undisturbed&) = delete;
  Undisturbed& operator=(const Undisturbed&) = delete;

 private:
  static constexpr uint64_t kFaults = sys::signal_bit(SIGSEGV) | sys::signal_bit(SIGBUS) | sys::signal_bit(SIGFPE) |
                                      sys::signal_bit(SIGILL) | sys::signal_bit(SIGTRAP) | sys::signal_bit(SIGSYS);
  uint64_t before_ = 0;
  const bool holds_;
};

}  // namespace poireau
