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
  std::array<char, 1216> path{};  // of the process's directory; empty: there is none
  uint64_t device = 0, inode = 0;
  bool mappable = false;  // files here may be mapped: fallocate really takes the blocks (ext4, xfs, tmpfs, overlay)
};

/// Keeps what the environment says about parent and run ($POIREAU_RUN, that `poireau run` sets), before the program
/// changes it. Once, at load; not for a program that runs with more rights than its user.
void look_at_environment(const char* const* environment) noexcept;

/// Makes the process's directory, and its run's and the parent where they are missing. False: there is none; what is
/// the matter is in `why` (a view of static text or of `room`). A fork child makes its own, in its parent's run. One
/// caller at a time.
[[nodiscard]] bool make_place(Place& out, std::string_view& why, std::span<char> room) noexcept;

/// Removes it again, and the run's if nothing else is there.
void unmake_place(Place& place) noexcept;

/// The directory's descriptor, or -errno: -ESTALE if another one lies there now. To be closed at once.
[[nodiscard]] int open_place(const Place& place) noexcept;

/// How many processes of this run had a directory before this one had; as far as the file system counts.
[[nodiscard]] uint64_t processes_before() noexcept;

/// In a fork child.
void forked_place() noexcept;

}  // namespace poireau::trace
