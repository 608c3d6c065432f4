#pragma once
#include <signal.h>

#include <cstddef>
#include <cstdint>

/// Holds the other threads of the process for a moment, in a handler of a real-time signal: for a sweep, which needs
/// their registers in memory, and for fork, whose child copies what they must not change. Only where blocks that are
/// not sampled are protected, too.
namespace poireau::stop {

/// Takes the highest real-time signal that nobody has set. False: there is none, or the kernel may not be asked; then
/// nobody but a thread that is alone stands still.
bool prepare() noexcept;
/// The signal that is ours; 0: none.
[[nodiscard]] int signal_number() noexcept;
/// sigaction() for it: what there is behind our handler.
int change(const struct sigaction* action, struct sigaction* old) noexcept;
/// A thread is about to have a signal stack of this size: if our handler may not fit, it stays off all of them.
void meet_signal_stack(size_t size) noexcept;
void forked() noexcept;

/// From here to the end of its life the other threads stand still, if all of them answer within 50 ms; else none does,
/// and it is false. One at a time, and not from a signal handler that has come between: false. Meanwhile the calling
/// thread handles no signals.
class Others {
 public:
  Others() noexcept;
  ~Others();
  Others(const Others&) = delete;
  Others& operator=(const Others&) = delete;
  explicit operator bool() const noexcept { return why_ == Why::all_stand; }

  /// Why they don't stand still: somebody else holds them (or this is no time for it), they did not answer, or it is
  /// not allowed.
  enum class Why : uint8_t { all_stand, busy, moving, forbidden };
  [[nodiscard]] Why why() const noexcept { return why_; }
  /// For who may have to wait for them: from here on they stand so many nanoseconds at most. 0: as long as it takes.
  void go_on_after(uint64_t nanoseconds) noexcept;
  /// Whether none of them has done so.
  [[nodiscard]] bool held() const noexcept;
  [[nodiscard]] unsigned count() const noexcept;

 private:
  Why why_ = Why::busy;
  bool ours_ = false;
  uint64_t blocked_ = 0;
};

}  // namespace poireau::stop
