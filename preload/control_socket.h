#pragma once
#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

/// The listener and the connections: whose they are, and who may speak. By one thread at a time, but where said.
namespace poireau::control {

/// A descriptor of ours, at a number that programs don't come to by counting up. One may close it all the same, and
/// have the number for something else: to that nothing is done. All-zero: none.
class Socket {
 public:
  /// 0: there is none. Any thread.
  [[nodiscard]] int number() const noexcept { return number_.load(std::memory_order_relaxed); }
  /// Whether the number is still ours.
  [[nodiscard]] bool is_there() const noexcept;
  /// Moves here what has the number `low`. False: it found no place, and is closed.
  [[nodiscard]] bool take(int low) noexcept;
  void close() noexcept;

  // As those of sys.h; -EBADF: it isn't there.
  [[nodiscard]] int64_t receive(std::span<char> out) const noexcept;
  [[nodiscard]] int64_t send(std::string_view bytes) const noexcept;

 private:
  std::atomic<int> number_{0};
  uint64_t cookie_ = 0;
};

/// The listener's name without the leading NUL: poireau/<uid>/<pid>/<start time>; empty: there is none.
[[nodiscard]] std::string_view name() noexcept;
/// Its number; 0: there is none. Any thread.
[[nodiscard]] int listener() noexcept;

/// Whether there is one for this user, who is the calling thread's. lost: there was, but the program has closed it.
/// others: it is not for this thread to have one made, which alone is another user than the `process`.
enum class Listening : uint8_t { yes, no, lost, others };
[[nodiscard]] Listening is_listening(int process, uint32_t user) noexcept;
/// Makes one, while there is none. Empty: there is; otherwise why not.
[[nodiscard]] std::string_view listen(int process, uint32_t user) noexcept;
void stop_listening() noexcept;
/// In a fork child, whose descriptors are older than its memory: closes what was just coming or going. `in_turn`:
/// another thread was busy with that.
void close_strays(bool in_turn) noexcept;

/// Lets in one of those that wait, if it is the listener's user or root. stranger: it was neither, and is gone. late:
/// there is no number for one.
enum class Visitor : uint8_t { none, welcome, stranger, late };
[[nodiscard]] Visitor let_in(Socket& to) noexcept;

}  // namespace poireau::control
