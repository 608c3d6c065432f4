#include "poireau/native/symbols_rust.h"

#include <array>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace poireau::symbols {
namespace {

constexpr int kDeepest = 100;          // things in each other
constexpr size_t kLongest = 16 << 10;  // what is referred back to can multiply
constexpr size_t kHash = 16;           // hexadecimal digits that older names end with

/// https://rust-lang.github.io/rfcs/2603-rust-symbol-name-mangling-v0.html: each function reads what the grammar there
/// has under its name, and appends it to `out`.
class Reader {
 public:
  explicit Reader(std::string_view text) : text_(text) {}

  std::optional<std::string> symbol() {
    if (isdigit(peek())) return std::nullopt;  // a version to come
    path(true);
    if (!bad_ && at_ < text_.size()) {  // the crate that has this instance
      const size_t end = out_.size();
      path(true);
      out_.resize(end);
    }
    return bad_ || at_ != text_.size() ? std::nullopt : std::optional(out_);
  }

 private:
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  char next() {
    if (at_ >= text_.size() || out_.size() > kLongest) bad_ = true;
    return bad_ ? '\0' : text_[at_++];
  }
  bool skip(char what) {
    if (bad_ || peek() != what) return false;
    ++at_;
    return true;
  }

  uint64_t base_62() {
    if (skip('_')) return 0;
    uint64_t value = 0;
    for (char c = next(); !bad_ && c != '_'; c = next()) {
      const int digit = isdigit(c) ? c - '0' : islower(c) ? c - 'a' + 10 : isupper(c) ? c - 'A' + 36 : -1;
      if (digit < 0 || value > UINT64_MAX / 62) bad_ = true;
      value = value * 62 + static_cast<uint64_t>(digit);
    }
    return value + 1;
  }
  uint64_t disambiguator() { return skip('s') ? base_62() + 1 : 0; }

  std::string_view undisambiguated_identifier() {
    skip('u');  // punycode is shown as it is
    size_t size = 0;
    if (!isdigit(peek())) bad_ = true;
    for (bool first = true; isdigit(peek()) && size < text_.size(); first = false) {
      if (!first && size == 0) break;
      size = size * 10 + static_cast<size_t>(next() - '0');
    }
    skip('_');
    if (bad_ || size > text_.size() - at_) {
      bad_ = true;
      return {};
    }
    at_ += size;
    return text_.substr(at_ - size, size);
  }

  /// Reads again what was read before.
  template <typename Read>
  void backref(Read read) {
    const size_t before = at_ - 1;
    const uint64_t to = base_62();
    if (to >= before) bad_ = true;
    if (bad_) return;
    const size_t after = std::exchange(at_, to);
    read();
    at_ = after;
  }

  /// `in_value`: generics follow a `::`. True: it ends in generics that are still open, as was asked for.
  bool path(bool in_value, bool leave_open = false) {
    const Deeper deeper(*this);
    bool open = false;
    switch (bad_ ? '\0' : next()) {
      case 'C':
        disambiguator();
        out_ += undisambiguated_identifier();
        break;
      case 'M':
        impl_path();
        out_ += '<';
        type();
        out_ += '>';
        break;
      case 'X':
        impl_path();
        [[fallthrough]];
      case 'Y':
        out_ += '<';
        type();
        out_ += " as ";
        path(false);
        out_ += '>';
        break;
      case 'N':
        nested(in_value);
        break;
      case 'I':
        path(in_value);
        out_ += in_value ? "::<" : "<";
        for (bool first = true; !bad_ && !skip('E'); first = false) {
          if (!first) out_ += ", ";
          generic_arg();
        }
        open = leave_open;
        if (!open) out_ += '>';
        break;
      case 'B':
        backref([&] { open = path(in_value, leave_open); });
        break;
      default:
        bad_ = true;
    }
    return open;
  }

  void impl_path() {
    const size_t end = out_.size();
    disambiguator();
    path(false);
    out_.resize(end);
  }

  void nested(bool in_value) {
    const char space = next();
    path(in_value);
    const uint64_t number = disambiguator();
    const std::string_view name = undisambiguated_identifier();
    if (isupper(space)) {
      out_ += "::{";
      out_ += space == 'C' ? "closure" : space == 'S' ? "shim" : std::string(1, space);
      if (!name.empty()) (out_ += ':') += name;
      (out_ += '#') += std::to_string(number) + '}';
    } else if (!name.empty()) {
      (out_ += "::") += name;
    }
  }

  void generic_arg() {
    if (skip('L')) {
      base_62();
      out_ += "'_";
    } else if (skip('K')) {
      constant();
    } else {
      type();
    }
  }

  void type() {
    static constexpr std::array<std::pair<char, std::string_view>, 22> kBasic{
        {{'a', "i8"},   {'b', "bool"},  {'c', "char"},  {'d', "f64"}, {'e', "str"}, {'f', "f32"},
         {'h', "u8"},   {'i', "isize"}, {'j', "usize"}, {'l', "i32"}, {'m', "u32"}, {'n', "i128"},
         {'o', "u128"}, {'s', "i16"},   {'t', "u16"},   {'u', "()"},  {'v', "..."}, {'x', "i64"},
         {'y', "u64"},  {'z', "!"},     {'p', "_"},     {'\0', ""}}};
    const Deeper deeper(*this);
    const char tag = next();
    for (const auto& [letter, name] : kBasic) {
      if (tag == letter) {
        out_ += name;
        return;
      }
    }
    switch (tag) {
      case 'R':
      case 'Q':
        out_ += '&';
        if (skip('L')) base_62();
        if (tag == 'Q') out_ += "mut ";
        return type();
      case 'P':
      case 'O':
        out_ += tag == 'P' ? "*const " : "*mut ";
        return type();
      case 'A':
      case 'S':
        out_ += '[';
        type();
        if (tag == 'A') {
          out_ += "; ";
          constant();
        }
        out_ += ']';
        return;
      case 'T':
        return tuple();
      case 'F':
        return function();
      case 'D':
        return dynamic();
      case 'B':
        return backref([&] { type(); });
      default:
        --at_;
        path(false);
    }
  }

  void tuple(bool of_function = false) {
    int count = 0;
    out_ += '(';
    for (; !bad_ && !skip('E'); ++count) {
      if (count != 0) out_ += ", ";
      type();
    }
    out_ += count == 1 && !of_function ? ",)" : ")";
  }

  void binder() {
    if (skip('G')) base_62();
  }

  void function() {
    binder();
    if (skip('U')) out_ += "unsafe ";
    if (skip('K')) {
      const std::string_view abi = skip('C') ? "C" : undisambiguated_identifier();
      out_ += "extern \"" + std::string(abi) + "\" ";
    }
    out_ += "fn";
    tuple(true);
    if (skip('u')) return;
    out_ += " -> ";
    type();
  }

  void dynamic() {
    out_ += "dyn ";
    binder();
    for (bool first = true; !bad_ && !skip('E'); first = false) {
      if (!first) out_ += " + ";
      bool open = path(false, true);
      while (skip('p')) {
        out_ += std::exchange(open, true) ? ", " : "<";
        (out_ += undisambiguated_identifier()) += " = ";
        type();
      }
      if (open) out_ += '>';
    }
    if (!skip('L')) bad_ = true;
    base_62();
  }

  void constant() {
    const Deeper deeper(*this);
    const char tag = next();
    if (tag == 'B') return backref([&] { constant(); });
    if (tag == 'p') {
      out_ += '_';
      return;
    }
    const bool negative = skip('n');
    const size_t begin = at_;
    while (isxdigit(peek())) ++at_;
    const std::string_view digits = text_.substr(begin, at_ - begin);
    uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (!skip('_') || digits.size() > 16) bad_ = true;
    if (tag == 'b') {
      out_ += value != 0 ? "true" : "false";
    } else if (tag == 'c' && value < 0x80 && isprint(static_cast<int>(value))) {
      out_ += {'\'', static_cast<char>(value), '\''};
    } else {
      out_ += (negative ? "-" : "") + std::to_string(value);
    }
  }

  struct Deeper {
    explicit Deeper(Reader& of) : reader(of) {
      if (++reader.depth_ > kDeepest) reader.bad_ = true;
    }
    ~Deeper() { --reader.depth_; }
    Reader& reader;
  };

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
  bool bad_ = false;
  std::string out_;
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 9> kEscapes{{{"$LT$", "<"},
                                                                                 {"$GT$", ">"},
                                                                                 {"$RF$", "&"},
                                                                                 {"$BP$", "*"},
                                                                                 {"$LP$", "("},
                                                                                 {"$RP$", ")"},
                                                                                 {"$C$", ","},
                                                                                 {"$SP$", "@"},
                                                                                 {"..", "::"}}};

/// Rust's older names are a C++ compiler's for a::b::h0123456789abcdef.
bool is_rust(std::string_view name) {
  if (name.size() < kHash + 3) return false;
  const std::string_view hash = name.substr(name.size() - kHash);
  return name.substr(name.size() - kHash - 3, 3) == "::h" &&
         hash.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

/// `$u20$` and its like: a character by its number.
bool unescape_character(std::string_view& left, std::string& out) {
  const size_t end = left.find('$', 1);
  if (!left.starts_with("$u") || end == std::string_view::npos || end < 3 || end > 4) return false;
  const int code = static_cast<int>(strtol(std::string(left.substr(2, end - 2)).c_str(), nullptr, 16));
  if (code >= 0x80 || isprint(code) == 0) return false;
  out += static_cast<char>(code);
  left.remove_prefix(end + 1);
  return true;
}

std::string unescaped(std::string_view left) {
  std::string out;
  while (!left.empty()) {
    // Names that would begin with a `$` begin with an underscore for its sake.
    if (left.starts_with("_$") && (out.empty() || out.ends_with("::"))) left.remove_prefix(1);
    if (left.front() == '$' && unescape_character(left, out)) continue;
    bool found = false;
    for (const auto& [escape, text] : kEscapes) {
      found = left.starts_with(escape);
      if (found) {
        out += text;
        left.remove_prefix(escape.size());
        break;
      }
    }
    if (found) continue;
    out += left.front();
    left.remove_prefix(1);
  }
  return out;
}

}  // namespace

std::optional<std::string> rust_name(std::string_view name) {
  if (!name.starts_with("_R")) return std::nullopt;
  return Reader(name.substr(2, name.find('.') - 2)).symbol();
}

std::string without_rust_hash(std::string_view demangled) {
  if (!is_rust(demangled)) return std::string(demangled);
  return unescaped(demangled.substr(0, demangled.size() - kHash - 3));
}

}  // namespace poireau::symbols
