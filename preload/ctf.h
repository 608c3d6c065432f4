#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "preload/event.h"

/// CTF 1.8: how events and packets lie in a file, and the metadata that tells readers so. All of it from event.def.
namespace poireau::ctf {

constexpr size_t kPacket = 64 << 10;
constexpr uint32_t kMagic = 0xC1FC1FC1;

/// The beginning of each packet. Readers see `content_bits` of it, so an event is there when that is stored.
struct PacketHeader {
  uint32_t magic;
  uint8_t uuid[16];
  uint32_t stream_class;  // 0: there is one
  uint64_t content_bits, packet_bits;
  uint64_t sequence;
  uint32_t process, file;  // the number of the file it lies in
};
static_assert(sizeof(PacketHeader) == 56);

/// How many bytes an event takes in a packet, its header included.
[[nodiscard]] size_t size_of(const event::Any& event) noexcept;
/// Writes so many bytes; returns what follows them. Texts end at a NUL, as they do in the file.
char* encode(char* to, const event::Any& event, uint64_t timestamp) noexcept;

/// What the metadata says besides the events.
struct Facts {
  std::span<const uint8_t, 16> uuid;
  int64_t clock_offset;  // CLOCK_REALTIME - CLOCK_MONOTONIC, in nanoseconds
  uint32_t process;
  std::string_view program, host, version;
};
/// The metadata file's text. Returns its size; 0: `out` is too small.
[[nodiscard]] size_t metadata(std::span<char> out, const Facts& facts) noexcept;
constexpr size_t kMetadataRoom = 16 << 10;

}  // namespace poireau::ctf
