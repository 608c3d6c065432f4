#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

/// What the metadata of a CTF trace says of how its packets begin, which is all that is needed to know them from
/// garbage.
namespace poireau::native::babeltrace {

/// An unsigned number so many bytes after a packet's first; `size` is 1, 2, 4 or 8.
struct Number {
  uint32_t at, size;
  bool big_endian;
};

/// Of the packets of one stream class. What isn't there is nullopt.
struct PacketLayout {
  std::optional<Number> content_size, packet_size;  // in bits
  std::optional<Number> begin, end;                 // times, as the clock counts
  uint32_t bytes = 0;                               // before the first event
};

struct Layout {
  std::optional<std::array<uint8_t, 16>> uuid;  // of the trace
  std::optional<Number> magic, stream_id, instance;
  std::optional<uint32_t> uuid_at;
  uint32_t bytes = 0;  // of the header, which is the same in all stream classes
  std::map<uint64_t, PacketLayout> streams;
};

/// The text of a metadata file, whose packets are taken off; `whole`: nothing of it was missing. Empty: it is none.
[[nodiscard]] std::string text_of(std::string_view file, bool& whole);
/// nullopt: there is something before the sizes whose own size is not known.
[[nodiscard]] std::optional<Layout> layout_of(std::string_view text);

}  // namespace poireau::native::babeltrace
