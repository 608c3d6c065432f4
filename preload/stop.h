#pragma once

/// Holds the other threads of the process for a moment, in a handler of a real-time signal: for a sweep, which needs
/// their registers in memory, and for fork, whose child copies what they must not change. Only where blocks that are
/// not sampled are protected, too.
namespace poireau::stop {

/// Takes the highest real-time signal that nobody has set. False: there is none, or the kernel may not be asked; then
/// nobody but a thread that is alone stands still.
bool prepare() noexcept;
/// The signal that is ours; 0: none.
[[nodiscard]] int signal_number() noexcept;
void forked() noexcept;

/// From here to the end of its life the other threads stand still, if all of them answer within 50 ms; else none does,
/// and it is false. One at a time, and not from a signal handler that has come between: false.
class Others {
 public:
  Others() noexcept;
  ~Others();
  Others(const Others&) = delete;
  Others& operator=(const Others&) = delete;
  explicit operator bool() const noexcept { return all_; }

 private:
  bool all_ = false, stopped_ = false;
};

}  // namespace poireau::stop
