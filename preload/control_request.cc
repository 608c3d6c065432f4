#include "preload/control_request.h"

#include "preload/base/utf8.h"

namespace poireau::control {
namespace {

constexpr char kNoObject[] = "not a flat object of JSON", kControl[] = "a text has control characters",
               kEscape[] = "a text has a bad escape";

/// Takes the line's tokens from left to right. False, and `wrong`: what should be there isn't.
class Reader {
 public:
  explicit Reader(std::span<char> line) noexcept : at_(line.data()), end_(line.data() + line.size()) {}

  bool object(Request& request) noexcept {
    if (!take('{')) return fail(kNoObject);
    if (!take('}')) {
      do
        if (!member(request)) return false;
      while (take(','));
      if (!take('}')) return fail(kNoObject);
    }
    skip_space();
    return at_ == end_ || fail(kNoObject);
  }

  bool fail(const char* wrong) noexcept {
    wrong_ = wrong;
    return false;
  }
  /// nullptr: nothing.
  [[nodiscard]] const char* wrong() const noexcept { return wrong_; }

 private:
  /// What is there, without space before it.
  [[nodiscard]] bool is(char c) const noexcept { return at_ != end_ && *at_ == c; }
  bool take_here(char c) noexcept {
    if (!is(c)) return false;
    ++at_;
    return true;
  }
  void skip_space() noexcept {
    while (is(' ') || is('\t') || is('\r')) ++at_;
  }
  bool take(char c) noexcept {
    skip_space();
    return take_here(c);
  }

  bool member(Request& request) noexcept {
    std::string_view key, text;
    skip_space();
    if (!string(key)) return false;
    if (!take(':')) return fail(kNoObject);
    skip_space();
    if (is('"') ? !string(text) : !literal(text)) return false;
    std::string_view* const field = key == "do"       ? &request.verb
                                    : key == "option" ? &request.option
                                    : key == "value"  ? &request.value
                                                      : nullptr;
    if (field == nullptr) return fail("a key is neither do nor option nor value");
    if (field->data() != nullptr) return fail("a key is there twice");
    *field = text;
    return true;
  }

  bool string(std::string_view& out) noexcept {
    if (!take_here('"')) return fail(kNoObject);
    char* to = at_;
    const char* const begin = to;
    while (at_ != end_) {
      if (is_control(static_cast<unsigned char>(*at_))) return fail(kControl);
      if (take_here('"')) {
        out = {begin, to};
        return true;
      }
      if (take_here('\\')) {
        if (!unescape(to)) return false;
        continue;
      }
      size_t size = utf8_size({at_, end_});
      if (size == 0) return fail("a text is not UTF-8");
      for (; size > 0; --size) *to++ = *at_++;
    }
    return fail("a text has no end");
  }

  /// What an escape stands for is never longer than the escape.
  bool unescape(char*& to) noexcept {
    const char kind = at_ != end_ ? *at_++ : '\0';
    if (kind == '"' || kind == '\\' || kind == '/') {
      *to++ = kind;
      return true;
    }
    if (kind == 'b' || kind == 'f' || kind == 'n' || kind == 'r' || kind == 't') return fail(kControl);
    uint32_t character, second;
    if (kind != 'u' || !unit(character)) return fail(kEscape);
    if (is_control(character)) return fail(kControl);
    if (character >> 7 == 0xdc80 >> 7) {  // a byte that was no UTF-8
      *to++ = static_cast<char>(character);
      return true;
    }
    if (character >> 11 == 0xd800 >> 11) {  // half a pair, of which it must be the first
      if (character >= 0xdc00 || !take_here('\\') || !take_here('u') || !unit(second) || second >> 10 != 0xdc00 >> 10)
        return fail(kEscape);
      character = 0x10000 + ((character - 0xd800) << 10) + (second - 0xdc00);
    }
    to = write_utf8(to, character);
    return true;
  }

  bool unit(uint32_t& out) noexcept {
    out = 0;
    if (end_ - at_ < 4) return false;
    for (const char* const end = at_ + 4; at_ != end; ++at_) {
      const char c = *at_;
      if (!is_digit(c) && !((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))) return false;
      out = out << 4 | static_cast<uint32_t>(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return true;
  }

  bool literal(std::string_view& out) noexcept {
    const char* const begin = at_;
    if (!word("true") && !word("false") && !number()) return fail("a value is a text, a number, true or false");
    out = {begin, at_};
    return true;
  }

  bool word(std::string_view text) noexcept {
    if (!std::string_view(at_, end_).starts_with(text)) return false;
    at_ += text.size();
    return true;
  }

  bool number() noexcept {
    take_here('-');
    if (!take_here('0') && !digits()) return false;
    if (take_here('.') && !digits()) return false;
    if (!take_here('e') && !take_here('E')) return true;
    if (!take_here('+')) take_here('-');
    return digits();
  }

  bool digits() noexcept {
    const char* const begin = at_;
    while (at_ != end_ && is_digit(*at_)) ++at_;
    return at_ != begin;
  }

  static constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

  char* at_;
  char* const end_;
  const char* wrong_ = nullptr;
};

}  // namespace

Request parse(std::span<char> line) noexcept {
  Request request;
  Reader reader(line);
  if (line.size() > kMostLine)
    reader.fail("the line is too long");
  else if (reader.object(request) && request.verb.empty())
    reader.fail("the key do is missing");
  if (reader.wrong() != nullptr) return {.wrong = reader.wrong()};
  request.has_option = request.option.data() != nullptr;
  request.has_value = request.value.data() != nullptr;
  return request;
}

}  // namespace poireau::control
