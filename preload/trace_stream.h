#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "preload/trace_place.h"

/// A CTF stream as a row of files (name_1, name_2, ...), each of whole packets. A file is built as .name_N, all of its
/// packets valid and empty, and then renamed: readers never see less. The next one is grown ahead, a packet at a time,
/// while the current one fills. Where files can be mapped an event is there once `commit` returns, whatever happens to
/// the process; elsewhere events wait in memory and are written (pwrite) every few KiB.
///
/// All-zero is a stream that has no file yet. One caller at a time.
namespace poireau::trace {

/// What every packet says.
struct Identity {
  uint8_t uuid[16];
  uint32_t process;
};

enum class Trouble : uint8_t {
  none,
  full,     // no space, quota, RLIMIT_FSIZE, trace_total: tried again now and then
  gone,     // the directory, or our right to it
  sandbox,  // no system calls any more: goes on in the files that are there
};

class Stream {
 public:
  struct Limits {
    uint32_t most_packets;  // of a file; the first has one, each further one twice as many as the one before
    bool recorder;          // when no new file can be had, overwrite the oldest packets (else: no room)
  };

  /// Makes the first file. False: see `trouble`.
  [[nodiscard]] bool open(const Place& place, const Identity& identity, std::string_view name,
                          const Limits& limits) noexcept;

  /// Room for `size` bytes; nullptr: there is none now, see `trouble`. Then write exactly so many, and commit.
  [[nodiscard]] char* reserve(size_t size) noexcept;
  void commit(size_t size) noexcept;

  /// The number of the file that the last reserved room is in, from 1; and of the oldest that is still there.
  [[nodiscard]] uint32_t file() const noexcept;
  [[nodiscard]] uint32_t oldest() const noexcept;
  /// What its files take on disk, the one being grown included.
  [[nodiscard]] uint64_t bytes() const noexcept;
  /// Removes the oldest file; false: it is the current one, or can't be.
  bool remove_oldest() noexcept;

  /// To the file with what waits in memory.
  void flush() noexcept;
  /// A seccomp filter is about to come: makes what is needed to go on without system calls.
  void prepare_for_sandbox() noexcept;
  /// In a fork child: what is mapped is the parent's. All-zero again.
  void forget() noexcept;

  [[nodiscard]] Trouble trouble() const noexcept;
};

}  // namespace poireau::trace
