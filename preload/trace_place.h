#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

/// Where a process's trace lies: <parent>/<run>/<process>/. The parent is the first there is of the option `trace`,
/// $STATE_DIRECTORY, $XDG_STATE_HOME/poireau/traces, ~/.local/state/poireau/traces. Directories are 0700 and ours,
/// files 0600 and made anew; nothing is followed that is a symbolic link in our part of the path. No descriptor is
/// kept: a program may close all it finds.
namespace poireau::trace {

struct Place {
  std::array<char, 1200> path{};  // of the process's directory; empty: there is none
  uint64_t device = 0, inode = 0;
  bool mappable = false;  // files here may be mapped: fallocate really takes the blocks (ext4, xfs, tmpfs, overlay)
};

/// Makes the process's directory, and its run's and the parent where they are missing. False: there is none; what is
/// the matter is in `why` (a view of static text or of `room`).
[[nodiscard]] bool make_place(Place& out, std::string_view& why, std::span<char> room) noexcept;
/// What a fork child needs to make its own beside its parent's.
void forked_place() noexcept;

/// The directory's descriptor, or -errno: -ESTALE if another one lies there now. To be closed at once.
[[nodiscard]] int open_place(const Place& place) noexcept;

/// `bytes` more are about to be taken in the parent. Now and then (each byte equally likely to be the one) looks how
/// much lies there, and removes the oldest finished runs, or finished processes of running ones, until less than
/// trace_total does. Bounded work a call. False: there is nothing to remove, and the bytes are too many.
[[nodiscard]] bool make_room(const Place& place, uint64_t bytes) noexcept;

}  // namespace poireau::trace
