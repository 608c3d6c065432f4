#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "poireau/native/table_addresses.h"
#include "poireau/native/table_columns.h"
#include "preload/ctf.h"

/// Packets of our own layout (preload/ctf.h): first they are looked through, so that nothing is decoded that is not
/// whole.
namespace poireau::native {

struct Event {
  uint64_t stamp;  // CLOCK_MONOTONIC
  event::Type type;
  uint16_t fields, stack;  // where they begin in the packet; 0: it has none
};
static_assert(ctf::kPacket <= UINT16_MAX + 1);

[[nodiscard]] bool is_sane(const ctf::PacketHeader& header);

/// Adds the events of a packet from one place on, as far as they are whole; returns where the first one begins that
/// isn't, or where the packet's content ends. In what is added time never goes back.
[[nodiscard]] size_t look_through(std::span<const char> packet, size_t from, std::vector<Event>& events);

/// Makes rows of the events of a process, which come in the order in which they were written.
class Decoder {
 public:
  Decoder(Tables& tables, uint32_t process, int64_t clock_offset)
      : tables_(tables), addresses_(tables, process), process_(process), clock_offset_(clock_offset) {}

  /// One that will soon be decoded.
  void expect(std::span<const char> packet, const Event& event) const;
  void decode(std::span<const char> packet, const Event& event, Columns& columns);

 private:
  friend struct Put;
  Tables& tables_;
  Addresses addresses_;
  const uint32_t process_;
  const int64_t clock_offset_;
  uint64_t order_ = 0;
  std::vector<uint64_t> frames_;
};

}  // namespace poireau::native
