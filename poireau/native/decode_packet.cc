#include "poireau/native/decode_packet.h"

#include <concepts>
#include <cstring>
#include <string_view>

namespace poireau::native {
namespace {

namespace kinds = event::kinds;

template <typename Value>
Value take(const char*& at) {
  Value value;
  std::memcpy(&value, at, sizeof value);
  at += sizeof value;
  return value;
}

/// Past a field, if it is whole.
struct Skip {
  const char *at, *end;
  const char* stack = nullptr;

  bool bytes(size_t size) {
    if (static_cast<size_t>(end - at) < size) return false;
    at += size;
    return true;
  }
  bool items(size_t size) {
    if (end - at < 2) return false;
    return bytes(take<uint16_t>(at) * size);
  }
  bool field(std::unsigned_integral auto number) { return bytes(sizeof number); }
  bool field(kinds::hex number) { return bytes(sizeof number); }
  bool field(kinds::bytes) { return items(1); }
  bool field(kinds::frames) {
    stack = at;
    return items(sizeof(uint64_t));
  }
  bool field(kinds::text) {
    const void* const nul = std::memchr(at, '\0', static_cast<size_t>(end - at));
    if (nul == nullptr) return false;
    at = static_cast<const char*>(nul) + 1;
    return true;
  }
  bool fields(event::Type type) {
    switch (type) {
#define FIELD(kind, name, help) &&field(kinds::kind{})
#define EVENT(name, Name, help, ...) \
  case event::Type::name:            \
    return true __VA_ARGS__;
#include "preload/event.def"
#undef EVENT
#undef FIELD
      default:
        return false;
    }
  }
};

std::string_view take_text(const char*& at) {
  const std::string_view text(at);
  at += text.size() + 1;
  return text;
}

std::span<const uint8_t> take_bytes(const char*& at) {
  const size_t size = take<uint16_t>(at);
  const std::span bytes(reinterpret_cast<const uint8_t*>(at), size);
  at += size;
  return bytes;
}

/// An event as the struct that it was, but for frames, which are not aligned in a packet.
struct Read {
  const char* at;

  void field(std::unsigned_integral auto& to) { to = take<std::remove_reference_t<decltype(to)>>(at); }
  void field(kinds::hex& to) { to = take<uint64_t>(at); }
  void field(kinds::text& to) { to = take_text(at); }
  void field(kinds::bytes& to) { to = take_bytes(at); }
  void field(kinds::frames&) { at += take<uint16_t>(at) * sizeof(uint64_t); }
#define FIELD(kind, name, help) field(event.name);
#define EVENT(name, Name, help, ...) \
  void fields(event::Name& event) { __VA_ARGS__ }
#include "preload/event.def"
#undef EVENT
#undef FIELD
};

}  // namespace

bool is_sane(const ctf::PacketHeader& header) {
  return header.magic == ctf::kMagic && header.stream_class == 0 && header.packet_bits == ctf::kPacket * 8 &&
         header.content_bits % 8 == 0 && header.content_bits >= sizeof header * 8 &&
         header.content_bits <= header.packet_bits;
}

size_t look_through(std::span<const char> packet, size_t from, std::vector<Event>& events) {
  const char* const end = packet.data() + packet.size();
  const size_t before = events.size();
  while (from < packet.size()) {
    Skip skip{packet.data() + from, end};
    if (!skip.bytes(sizeof(uint16_t) + sizeof(uint64_t))) return from;
    const char* at = packet.data() + from;
    const auto type = static_cast<event::Type>(take<uint16_t>(at));
    const auto stamp = take<uint64_t>(at);
    // Zeros, and what was there before, look like events too. But the first one's time may be what is wrong.
    if (stamp == 0 || (events.size() > before + 1 && stamp < events[before].stamp) || !skip.fields(type)) return from;
    for (size_t last = events.size(); last > before && events[last - 1].stamp > stamp;) events[--last].stamp = stamp;
    const auto offset = [&](const char* of) { return static_cast<uint16_t>(of == nullptr ? 0 : of - packet.data()); };
    events.push_back({stamp, type, offset(at), offset(skip.stack)});
    from = static_cast<size_t>(skip.at - packet.data());
  }
  return from;
}

/// One field after the other into the columns.
struct Put {
  Decoder& decoder;
  Columns& columns;
  const char* at;
  size_t column = 0;

  void field(std::unsigned_integral auto kind, bool) { columns.put(column++, take<decltype(kind)>(at)); }
  void field(kinds::u64, bool is_time) {
    columns.put(column++, take<uint64_t>(at) + (is_time ? static_cast<uint64_t>(decoder.clock_offset_) : 0));
  }
  void field(kinds::hex, bool) { columns.put(column++, take<uint64_t>(at)); }
  void field(kinds::text, bool) { columns.put(column++, decoder.tables_.string(take_text(at))); }
  void field(kinds::bytes, bool) { columns.put(column++, decoder.tables_.hexadecimal(take_bytes(at))); }
  void field(kinds::frames, bool) {
    decoder.frames_.resize(take<uint16_t>(at));
    const size_t size = decoder.frames_.size() * sizeof(uint64_t);
    if (size != 0) std::memcpy(decoder.frames_.data(), at, size);
    at += size;
    columns.put(column++, decoder.addresses_.stack(decoder.frames_));
  }
};

void Decoder::expect(std::span<const char> packet, const Event& event) const {
  if (event.stack == 0) return;
  const char* at = packet.data() + event.stack;
  const size_t count = take<uint16_t>(at);
  addresses_.expect(at, count);
}

void Decoder::decode(std::span<const char> packet, const Event& event, Columns& columns) {
  const char* const begin = packet.data() + event.fields;
  const auto stamp = static_cast<int64_t>(event.stamp + static_cast<uint64_t>(clock_offset_));
  columns.begin_row(event.type, order_++, process_, stamp);
  Put put{*this, columns, begin};
  switch (event.type) {
#define FIELD(kind, name, help) put.field(kinds::kind{}, Field{#name, Kind::kind}.is_time());
#define EVENT(name, Name, help, ...) \
  case event::Type::name:            \
    __VA_ARGS__                      \
    break;
#include "preload/event.def"
#undef EVENT
#undef FIELD
    case event::Type::count:
      break;
  }
  if (event.type != event::Type::module) return;
  event::Module module;
  Read{begin}.fields(module);
  addresses_.module(module.base.value, module.begin.value, module.size, module.path, module.build_id);
}

}  // namespace poireau::native
