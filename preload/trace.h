#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/event.h"

/// The embedded trace: one directory a process, made when its first event comes. Two streams: `facts` (whose trace it
/// is, modules, threads, options, errors, counters), which stays whole, and `samples`, the oldest files of which go
/// (trace_limit). Any thread, any time, signal handlers too: who finds it taken for too long goes without.
namespace poireau::trace {

/// The right to write. False: somebody else has it, perhaps this very thread beneath a signal handler; or there is no
/// trace.
class [[nodiscard]] Turn {
 public:
  Turn() noexcept;
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return got_; }

 private:
  bool got_;
};

// With a turn:

/// The number of the file that the event is in now; 0: dropped, and counted.
uint32_t write(const event::Any& event) noexcept;
/// Files of samples up to this one are to go: what is alive in them is to be written again. 0: none has to.
[[nodiscard]] uint32_t leaving() noexcept;
/// That has been done (or can't be: what was in them is lost).
void left() noexcept;
/// The first file of samples of this process.
[[nodiscard]] uint32_t first() noexcept;

// Without:

/// Whether events are to be written at all.
[[nodiscard]] bool wanted() noexcept;
[[nodiscard]] uint64_t bytes() noexcept;
[[nodiscard]] uint64_t dropped() noexcept;
/// Before a seccomp filter; in a fork child; at exit.
void prepare_for_sandbox() noexcept;
void forked() noexcept;
void finish() noexcept;

}  // namespace poireau::trace
