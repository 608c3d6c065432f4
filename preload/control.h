#pragma once
#include <cstdint>

/// The process's side of live control: an abstract unix socket, served on the sampled path by whoever comes along, at
/// most once a millisecond. No thread, no signal, no lock that anybody waits for. Any thread, any time; one that has
/// descriptors of its own (unshare), or is a user of its own, serves nobody.
namespace poireau::control {

/// What became of those that came.
struct Counts {
  uint64_t connections;  // accepted
  uint64_t refused;      // of them: other users
  uint64_t requests;     // lines that were answered
  uint64_t malformed;    // of them: no request
  uint64_t cut_off;      // too slow, too long, or not reading
  uint64_t lost;         // times that the program closed our listener
  uint64_t failures;     // times that there was no descriptor to be had, for it or for who came
};
[[nodiscard]] Counts counts() noexcept;

/// This process may have a socket. Once, with its options known; a vfork child, which shares all this, is another.
void begin() noexcept;
/// A turn, at most once a millisecond: see that we can be reached, and serve a little of what has come.
void serve() noexcept;
/// In a fork child: the parent's listener and connections are closed, one of its own comes with its next turn.
void forked() noexcept;
/// A seccomp filter is about to come: everything is closed, and nothing is asked of the kernel from here on.
void prepare_for_sandbox() noexcept;
/// No more control in this process: everything is closed when the turn has ended, or with the next.
void close_for_good() noexcept;

}  // namespace poireau::control
