#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/ctf.h"
#include "preload/trace_files.h"
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
  full,     // no space, quota, RLIMIT_FSIZE, trace_total, no memory: tried again now and then
  gone,     // the directory, or our right to it: tried again too
  sandbox,  // no system calls any more: goes on in the files that are there
};

class Stream {
 public:
  struct Limits {
    uint32_t most_packets;  // of a file; the first has one, each further one twice as many as the one before
    bool recorder;          // in a sandbox, and when the directory is gone, overwrite the oldest files (else: no room)
  };

  /// Makes the first file. False: see `trouble`; to be tried again at will. `place` and `name` stay where they are.
  [[nodiscard]] bool open(const Place& place, const Identity& identity, std::string_view name,
                          const Limits& limits) noexcept;

  /// Room for `size` bytes; nullptr: there is none now, see `trouble`. Then write exactly so many, and commit.
  [[nodiscard]] char* reserve(size_t size) noexcept;
  void commit(size_t size) noexcept;

  /// The number of the file that the last reserved room is in, from 1; and of the oldest that is still there. As a
  /// flight recorder a file that is overwritten gets a new number (its packets tell it, its name stays), and the oldest
  /// is the one to be overwritten next.
  [[nodiscard]] uint32_t file() const noexcept;
  [[nodiscard]] uint32_t oldest() const noexcept;
  /// Packets that a flight recorder has overwritten.
  [[nodiscard]] uint64_t overwritten() const noexcept { return overwritten_; }
  /// What its files take on disk, the one being grown included, one that was removed but not used again not.
  [[nodiscard]] uint64_t bytes() const noexcept { return packets_ * ctf::kPacket; }
  /// Removes the oldest file; false: it is the current one, or can't be. It becomes the next one to be grown: to give
  /// its blocks back, and take others, would be to stall for milliseconds.
  bool remove_oldest() noexcept;

  /// Of the files to come. Less than before: what was grown ahead goes.
  void limit_packets(uint32_t most) noexcept;

  /// Whatever there was no room for may be tried at once.
  void be_hopeful() noexcept { tried_ = 0; }
  /// To the file with what waits in memory.
  void flush() noexcept;
  /// Gives back what was grown ahead, or removed.
  void trim() noexcept;
  /// Whether that is in a file of its that is mapped. At any moment, for whoever holds the other threads.
  [[nodiscard]] bool maps(uintptr_t address) const noexcept;
  /// A seccomp filter is about to come: makes what is needed to go on without system calls.
  void prepare_for_sandbox() noexcept;
  /// In a fork child: what is mapped is the parent's. All-zero again.
  void forget() noexcept;

  /// What the last attempt to get more room ran into: it may be known before there is none.
  [[nodiscard]] Trouble trouble() const noexcept;

 private:
  struct File {
    char* base;  // nullptr: not mapped
    uint32_t number, packets;
  };
  static constexpr uint32_t kFiles = 5;  // at hand

  [[nodiscard]] uint32_t ahead() const noexcept { return count_ - current_ - 1; }
  [[nodiscard]] uint32_t packets_of(uint32_t number) const noexcept;
  [[nodiscard]] FileName hidden(uint32_t number) const noexcept;
  [[nodiscard]] char* packet() const noexcept;
  [[nodiscard]] bool advance() noexcept;
  [[nodiscard]] bool next_file() noexcept;
  void begin_packet(uint32_t packet) noexcept;
  void unmap(const File& file) noexcept;
  void drop_first_files(uint32_t count) noexcept;
  void overwrite(File& file) noexcept;
  [[nodiscard]] bool may_try() const noexcept;
  [[nodiscard]] bool done(int error) noexcept;
  void look_ahead() noexcept;
  [[nodiscard]] bool grow() noexcept;
  [[nodiscard]] bool add_file() noexcept;
  void give_back(uint32_t packets) noexcept;
  [[nodiscard]] bool write_out() noexcept;

  const Place* place_ = nullptr;
  std::string_view name_;
  Identity identity_{};
  Limits limits_{};
  std::array<File, kFiles> files_{};  // in the order of their events: some filled ones, the current, those ahead
  uint32_t count_ = 0, current_ = 0;
  uint32_t packet_ = 0;     // of the current file
  size_t used_ = 0;         // of it
  size_t written_ = 0;      // of that, where files aren't mapped
  size_t look_at_ = 0;      // so much used: time to grow the next file
  char* buffer_ = nullptr;  // the current packet, where files aren't mapped
  uint32_t last_ = 0;       // file that was published
  uint32_t grown_ = 0;      // packets of the one after it
  uint32_t oldest_ = 0;
  uint64_t packets_ = 0, sequence_ = 0, overwritten_ = 0;
  uint64_t tried_ = 0;  // when, in ticks
  Trouble trouble_ = Trouble::none;
  bool mapped_ = false, recording_ = false;
};

}  // namespace poireau::trace
