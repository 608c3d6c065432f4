#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/base/undisturbed.h"
#include "preload/event.h"

/// The embedded trace: one directory a process, made when its first event comes. Two streams: `facts` (whose trace it
/// is, modules, threads, options, errors), which stays whole, and `samples`, the oldest files of which go
/// (trace_limit). Any thread, any time, signal handlers too: who can't have his turn within 10 ms goes without. What is
/// written is there whatever becomes of the process, but for what others owe when it is killed then.
namespace poireau::trace {

/// The right to write. False: somebody else has it and doesn't come to an end, perhaps this very thread beneath a
/// signal handler. Who has it is undisturbed.
class [[nodiscard]] Turn {
 public:
  Turn() noexcept;
  ~Turn();
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return mine_ != 0; }

 private:
  const Undisturbed undisturbed_;
  uint64_t mine_ = 0;
};

// With a turn:

/// fresh: it has just been made, and nobody has said in it whose it is. none: there is none; ask again.
enum class Opened : uint8_t { none, fresh, ready };
[[nodiscard]] Opened open() noexcept;
/// The number of the file of samples that is written now, if the event was; 0: dropped, and counted. Files' numbers
/// go on from a process to its fork children.
uint32_t write(const event::Any& event) noexcept;
/// The last chance: whether there is room on disk is asked at once.
void be_hopeful() noexcept;
/// Files of samples up to this one are to go: what is alive in them is to be written again first. 0: none has to.
[[nodiscard]] uint32_t leaving() noexcept;
/// They may.
void left() noexcept;
/// To the files with what waits in memory. False: they, or the directory, are out of reach.
[[nodiscard]] bool flush() noexcept;
/// The first file of samples of this process, the oldest that is there, the one that is written now, and about how many
/// events each of those to come holds.
[[nodiscard]] uint32_t first() noexcept;
[[nodiscard]] uint32_t oldest() noexcept;
[[nodiscard]] uint32_t current() noexcept;
[[nodiscard]] uint32_t events_a_file() noexcept;

// Without:

/// Whether there is to be a trace (`sink`), and whether events are to be written to it now (`record`).
[[nodiscard]] bool asked_for() noexcept;
[[nodiscard]] bool wanted() noexcept;
/// On disk, and events that found no room there.
[[nodiscard]] uint64_t bytes() noexcept;
/// Where it lies; empty: there is none yet.
[[nodiscard]] std::string_view directory() noexcept;
[[nodiscard]] uint64_t dropped() noexcept;
/// Files that went before what is alive in them was written again.
[[nodiscard]] uint64_t removed_early() noexcept;
/// Packets that were overwritten since no new file can be had.
[[nodiscard]] uint64_t overwritten() noexcept;
/// Whether that is in a file of the trace, as the process has it mapped.
[[nodiscard]] bool maps(uintptr_t address) noexcept;
/// Before a seccomp filter; in a fork child; at exit.
void prepare_for_sandbox() noexcept;
void forked() noexcept;
void finish() noexcept;

}  // namespace poireau::trace
