#include "poireau/native/babeltrace_layout.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

#include "poireau/native/babeltrace_tokens.h"

namespace poireau::native::babeltrace {
namespace {

constexpr uint64_t kMostCount = 4096;  // of an array's items, and bits of an alignment

/// What cannot be told, from which all of the parser returns at once.
struct Unknown {};

enum class Order : uint8_t { native, little, big };

struct Integer {
  uint64_t size = 0, align = 1;  // bits
  Order order = Order::native;
};
struct Item {
  std::string name;
  Integer type;
  uint64_t count;
};
/// `known`: all of its items are integers and arrays of them.
struct Struct {
  std::vector<Item> items;
  uint64_t align = 1;
  bool known = true;
};

uint64_t number_of(std::string_view token) {
  const bool hex = token.starts_with("0x") || token.starts_with("0X");
  if (hex) token.remove_prefix(2);
  uint64_t value;
  const auto [end, error] = std::from_chars(token.data(), token.data() + token.size(), value,
                                            hex                                          ? 16
                                            : token.size() > 1 && token.starts_with('0') ? 8
                                                                                         : 10);
  if (error != std::errc() || end != token.data() + token.size()) throw Unknown();
  return value;
}

std::string joined(const std::string_view* begin, const std::string_view* end) {
  std::string out;
  for (; begin != end; ++begin) out.append(out.empty() ? "" : " ").append(*begin);
  return out;
}

Order order_of(std::string_view value) {
  if (value == "le") return Order::little;
  if (value == "be" || value == "network") return Order::big;
  return Order::native;
}

std::optional<std::array<uint8_t, 16>> uuid_of(std::string_view quoted) {
  std::array<uint8_t, 16> out{};
  size_t digits = 0;
  for (const char c : quoted) {
    if (c == '"' || c == '-') continue;
    uint8_t value = 0;
    if (digits == 32 || std::from_chars(&c, &c + 1, value, 16).ec != std::errc()) return std::nullopt;
    out[digits / 2] = static_cast<uint8_t>(out[digits / 2] << 4 | value);
    ++digits;
  }
  return digits == 32 ? std::optional(out) : std::nullopt;
}

class Parser {
 public:
  Layout parse(std::string_view text);

 private:
  using Token = const std::string_view*;

  /// What is between the brace at `begin` and its other one; `begin` comes to lie after that.
  std::string_view braces(Token& begin, Token end);
  Integer integer(std::string_view body);
  Integer type(Token begin, Token end);
  Struct structure(std::string_view body);
  Struct reference(Token begin, Token end);
  void trace(std::string_view body);
  void stream(std::string_view body);
  [[nodiscard]] Number place(const Item& item, uint64_t bit) const;
  template <typename Visit>
  uint64_t lay(const Struct& of, uint64_t bit, Visit&& visit) const;

  std::map<std::string, Integer> integers_;
  std::map<std::string, Struct> structs_;
  Order order_ = Order::native;
  std::optional<std::array<uint8_t, 16>> uuid_;
  Struct header_;
  std::vector<std::pair<uint64_t, Struct>> contexts_;
};

std::string_view Parser::braces(Token& begin, Token end) {
  if (begin == end || *begin != "{") throw Unknown();
  const char* const from = begin->data() + 1;
  for (size_t depth = 0; begin != end; ++begin) {
    if (*begin == "{") ++depth;
    if (*begin == "}" && --depth == 0) {
      const char* const to = begin++->data();
      return {from, static_cast<size_t>(to - from)};
    }
  }
  throw Unknown();
}

Integer Parser::integer(std::string_view body) {
  Integer out;
  out.align = 0;
  for (Tokens tokens; next_statement(body, tokens);) {
    if (tokens.size() < 3 || tokens[1] != "=") continue;
    if (tokens[0] == "size") out.size = number_of(tokens[2]);
    if (tokens[0] == "align") out.align = number_of(tokens[2]);
    if (tokens[0] == "byte_order") out.order = order_of(tokens[2]);
  }
  if (out.align == 0) out.align = out.size % 8 == 0 ? 8 : 1;
  const bool sound = out.size >= 1 && out.size <= 64 && out.align <= kMostCount && (out.align & (out.align - 1)) == 0;
  if (!sound) throw Unknown();
  return out;
}

/// Of an integer, or an enumeration of some.
Integer Parser::type(Token begin, Token end) {
  if (begin == end) throw Unknown();
  if (*begin == "integer") return integer(braces(++begin, end));
  if (*begin == "enum") {
    const Token colon = std::find(begin, end, ":");
    const Token brace = std::find(begin, end, "{");
    if (colon > brace || colon == end) throw Unknown();
    return type(colon + 1, brace);
  }
  const auto found = integers_.find(joined(begin, end));
  if (found == integers_.end()) throw Unknown();
  return found->second;
}

Struct Parser::structure(std::string_view body) {
  Struct out;
  for (Tokens tokens; out.known && next_statement(body, tokens);) try {
      Token begin = tokens.data(), end = begin + tokens.size();
      uint64_t count = 1;
      while (end - begin > 3 && end[-1] == "]" && end[-3] == "[") {
        count *= std::min(number_of(end[-2]), kMostCount + 1);
        end -= 3;
        if (count > kMostCount) throw Unknown();
      }
      if (end - begin < 2) throw Unknown();
      const Integer of = type(begin, end - 1);
      out.align = std::max(out.align, of.align);
      out.items.push_back({std::string(end[-1]), of, count});
    } catch (Unknown) {
      out.known = false;
    }
  return out;
}

/// `struct {...} align(8)`, `struct name {...}` and `struct name`.
Struct Parser::reference(Token begin, Token end) {
  if (begin == end || *begin++ != "struct") throw Unknown();
  std::string name;
  if (begin != end && *begin != "{") name = *begin++;
  if (begin == end) {
    const auto found = structs_.find(name);
    if (found == structs_.end()) throw Unknown();
    return found->second;
  }
  Struct out = structure(braces(begin, end));
  if (end - begin == 4 && begin[0] == "align") {
    const uint64_t align = number_of(begin[2]);
    if (align > kMostCount || (align & (align - 1)) != 0) throw Unknown();
    out.align = std::max(out.align, align);
  }
  if (!name.empty()) structs_[name] = out;
  return out;
}

void Parser::trace(std::string_view body) {
  for (Tokens tokens; next_statement(body, tokens);) {
    const Token begin = tokens.data(), end = begin + tokens.size();
    if (tokens.size() == 3 && tokens[0] == "byte_order") order_ = order_of(tokens[2]);
    if (tokens.size() == 3 && tokens[0] == "uuid") uuid_ = uuid_of(tokens[2]);
    if (tokens.size() > 4 && joined(begin, begin + 4) == "packet . header :=") header_ = reference(begin + 4, end);
  }
}

void Parser::stream(std::string_view body) {
  contexts_.emplace_back();
  for (Tokens tokens; next_statement(body, tokens);) {
    const Token begin = tokens.data(), end = begin + tokens.size();
    if (tokens.size() == 3 && tokens[0] == "id") contexts_.back().first = number_of(tokens[2]);
    if (tokens.size() > 4 && joined(begin, begin + 4) == "packet . context :=")
      contexts_.back().second = reference(begin + 4, end);
  }
}

Number Parser::place(const Item& item, uint64_t bit) const {
  const uint64_t size = item.type.size;
  const Order order = item.type.order == Order::native ? order_ : item.type.order;
  if (bit % 8 != 0 || item.count != 1 || (size != 8 && size != 16 && size != 32 && size != 64)) throw Unknown();
  return {static_cast<uint32_t>(bit / 8), static_cast<uint32_t>(size / 8), order == Order::big};
}

/// Calls `visit` with each item and the bit it begins at; returns where the last one ends.
template <typename Visit>
uint64_t Parser::lay(const Struct& of, uint64_t bit, Visit&& visit) const {
  if (!of.known) throw Unknown();
  const auto aligned = [](uint64_t at, uint64_t align) { return (at + align - 1) / align * align; };
  bit = aligned(bit, of.align);
  for (const Item& item : of.items) {
    bit = aligned(bit, item.type.align);
    visit(item, bit);
    bit += (item.count - 1) * aligned(item.type.size, item.type.align) + item.type.size;
    if (bit > 8 * 65536) throw Unknown();
  }
  return bit;
}

Layout Parser::parse(std::string_view text) {
  for (Tokens tokens; next_statement(text, tokens);) {
    Token begin = tokens.data();
    const Token end = begin + tokens.size();
    if (tokens.size() < 3) continue;
    const std::string_view what = tokens[0];
    if (what == "typealias") {
      const Token is = std::find(begin, end, ":=");
      try {
        if (is != end) integers_[joined(is + 1, end)] = type(begin + 1, is);
      } catch (Unknown) {  // whoever uses it will not be known either
      }
    } else if (what == "struct") {
      (void)reference(begin, end);
    } else if (what == "trace") {
      trace(braces(++begin, end));
    } else if (what == "stream") {
      stream(braces(++begin, end));
    }
  }
  Layout out;
  out.uuid = uuid_;
  const uint64_t bits = lay(header_, 0, [&](const Item& item, uint64_t bit) {
    if (item.name == "magic") out.magic = place(item, bit);
    if (item.name == "stream_id") out.stream_id = place(item, bit);
    if (item.name == "stream_instance_id") out.instance = place(item, bit);
    if (item.name == "uuid" && item.count == 16 && item.type.size == 8) out.uuid_at = static_cast<uint32_t>(bit / 8);
  });
  out.bytes = static_cast<uint32_t>((bits + 7) / 8);
  for (const auto& [id, context] : contexts_) {
    PacketLayout& packet = out.streams[id];
    const uint64_t end = lay(context, bits, [&](const Item& item, uint64_t bit) {
      if (item.name == "content_size") packet.content_size = place(item, bit);
      if (item.name == "packet_size") packet.packet_size = place(item, bit);
      if (item.name == "timestamp_begin") packet.begin = place(item, bit);
      if (item.name == "timestamp_end") packet.end = place(item, bit);
    });
    packet.bytes = static_cast<uint32_t>((end + 7) / 8);
  }
  return out;
}

struct MetadataPacket {
  uint32_t magic;
  uint8_t uuid[16];
  uint32_t checksum, content_bits, packet_bits;
  uint8_t methods[3], major, minor;
};
constexpr size_t kMetadataHeader = 37;
constexpr uint32_t kMetadataMagic = 0x75d11d57;

}  // namespace

std::string text_of(std::string_view file, bool& whole) {
  std::string out;
  whole = true;
  MetadataPacket packet{};
  const auto header = [&] {
    if (file.size() < kMetadataHeader) return false;
    std::memcpy(&packet, file.data(), kMetadataHeader);
    if (packet.magic == __builtin_bswap32(kMetadataMagic)) {
      packet.content_bits = __builtin_bswap32(packet.content_bits);
      packet.packet_bits = __builtin_bswap32(packet.packet_bits);
    } else if (packet.magic != kMetadataMagic) {
      return false;
    }
    const size_t content = packet.content_bits / 8, size = packet.packet_bits / 8;
    return content >= kMetadataHeader && content <= size && content <= file.size() && packet.methods[0] == 0 &&
           packet.methods[1] == 0;
  };
  if (header()) {
    while (header()) {
      out += file.substr(kMetadataHeader, packet.content_bits / 8 - kMetadataHeader);
      file.remove_prefix(std::min<size_t>(packet.packet_bits / 8, file.size()));
    }
    whole = file.empty();
  } else if (file.starts_with("/* CTF 1.8")) {
    out = file;
  }
  const size_t good = complete(out);
  whole = whole && out.find_first_not_of(" \t\r\n", good) == out.npos;
  out.resize(good);
  return out;
}

std::optional<Layout> layout_of(std::string_view text) {
  try {
    return Parser().parse(text);
  } catch (Unknown) {
    return std::nullopt;
  }
}

}  // namespace poireau::native::babeltrace
