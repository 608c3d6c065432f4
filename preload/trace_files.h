#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/base/sys.h"
#include "preload/ctf.h"
#include "preload/trace_place.h"

/// What is done to the files of a trace, each with descriptors of its own that are closed at once, none beyond
/// RLIMIT_FSIZE (its signal would end the program), and whole or not at all. They return the error's number; 0: done.
namespace poireau::trace {

class FileName {
 public:
  /// `number` 0: without one. Readers don't see what is hidden.
  enum class Seen { hidden, open };
  FileName(std::string_view stem, uint32_t number, Seen seen = Seen::open) noexcept;
  [[nodiscard]] const char* c_str() const noexcept { return text_.data(); }

 private:
  std::array<char, 40> text_{};
};

/// Packet number `index`, empty, to the end of a file that has as many; with 0 the file is made, and one of that name
/// goes. EOPNOTSUPP: blocks can't be had for certain here (`certain`: don't do without).
[[nodiscard]] int add_packet(const Place& place, const FileName& name, uint32_t index, const ctf::PacketHeader& header,
                             bool certain) noexcept;
/// Cuts what is beyond these packets, maps the file if `mapping` isn't nullptr, and renames it.
[[nodiscard]] int publish(const Place& place, const FileName& from, const FileName& to, uint32_t packets,
                          char** mapping) noexcept;
/// Events of a packet that is not mapped: the bytes from `from` to `to`, and then that they are there.
[[nodiscard]] int write_events(const Place& place, const FileName& name, uint32_t index, const char* packet,
                               size_t from, size_t to) noexcept;
/// `size`: what it takes on disk, if that can be told.
[[nodiscard]] int remove(const Place& place, const FileName& name, uint64_t* size = nullptr) noexcept;
/// A whole file, seen when it is complete; such as `metadata`.
[[nodiscard]] int write_whole(const Place& place, std::string_view name, std::string_view content) noexcept;

}  // namespace poireau::trace
