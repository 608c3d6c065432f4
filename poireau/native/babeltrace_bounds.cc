#include "poireau/native/babeltrace_bounds.h"

#include <babeltrace2/babeltrace.h>
#include <dlfcn.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>

#include "poireau/native/babeltrace_tokens.h"

namespace poireau::native::babeltrace {
namespace {

constexpr uint64_t kMostFields = 1 << 20, kMostItems = 1 << 22;
constexpr size_t kDeepest = 64, kMostSigns = 64;

struct TooMuch {};

uint64_t product(uint64_t a, uint64_t b) {
  return std::min(std::min(a, kMostItems) * std::min(b, kMostItems), kMostItems);
}

/// Of an array; one, if that is written in each event.
uint64_t count_in(std::string_view token) {
  if (token.empty() || token[0] < '0' || token[0] > '9') return 1;
  const bool hexadecimal = token.starts_with("0x") || token.starts_with("0X");
  if (hexadecimal) token.remove_prefix(2);
  uint64_t count = 0;  // what is octal is less
  const auto [end, error] = std::from_chars(token.begin(), token.end(), count, hexadecimal ? 16 : 10);
  return error == std::errc() ? count : kMostItems;
}

/// How many fields types have. What is unclear is more rather than less.
class Fields {
 public:
  using Token = const std::string_view*;
  /// Of a statement; `at` comes to lie on what ends it.
  uint64_t statement(Token& at, Token end, size_t depth);

 private:
  uint64_t block(Token& at, Token end, size_t depth);
  void name(Token from, Token to, uint64_t fields) {
    for (; fields > 1 && from < to; ++from) names_[*from] = std::max(names_[*from], fields);
  }
  [[nodiscard]] uint64_t named(std::string_view text) const {
    const auto found = names_.find(text);
    return found == names_.end() ? 0 : found->second;
  }

  std::map<std::string_view, uint64_t> names_;  // of types that have more than one
};

uint64_t Fields::statement(Token& at, Token end, size_t depth) {
  const Token begin = at;
  Token type = nullptr;     // the keyword that says what the next braces are
  Token names = begin + 2;  // where those of a new type begin
  uint64_t fields = 0, items = 1;
  for (size_t signs = 0; at != end && *at != ";" && *at != "}"; ++at) {
    const std::string_view now = *at;
    if (now == "struct" || now == "variant" || now == "enum" || now == "integer" || now == "floating_point" ||
        now == "string") {
      type = at;
    } else if (now == "{") {
      const Token open = at;
      const uint64_t inside = block(++at, end, depth + 1);
      if (type == nullptr || *type == "struct" || *type == "variant") fields += inside;
      if (type != nullptr) name(type + 1, open, inside);
      type = nullptr;
      names = at + 1;
      if (at == end) break;
    } else if (now == "[") {
      items = product(items, count_in(at + 1 == end ? "" : at[1]));
    } else if (now == ":=") {
      names = at + 1;
    } else {
      fields += named(now);
    }
    signs += now == "[" || now == "*" || now == "(" || now == ":" || now == "<" ? 1 : 0;
    if (signs > kMostSigns) throw TooMuch();
  }
  fields = product(std::max<uint64_t>(fields, 1), items);
  if (begin != end && (*begin == "typealias" || *begin == "typedef")) name(names, at, fields);
  return fields;
}

/// What is in braces; `at` comes to lie on the one that closes.
uint64_t Fields::block(Token& at, Token end, size_t depth) {
  if (depth > kDeepest) throw TooMuch();
  uint64_t sum = 0;
  for (; at != end && *at != "}"; at += at != end && *at == ";" ? 1 : 0) {
    sum += statement(at, end, depth);
    if (sum > kMostFields) throw TooMuch();
  }
  return sum;
}

/// One of this type, and those in it.
uint64_t fields_of(const bt_field_class* of) {
  const bt_field_class_type type = bt_field_class_get_type(of);
  uint64_t sum = 1;
  if (type == BT_FIELD_CLASS_TYPE_STRUCTURE)
    for (uint64_t i = 0, count = bt_field_class_structure_get_member_count(of); i < count; ++i)
      sum += fields_of(bt_field_class_structure_member_borrow_field_class_const(
          bt_field_class_structure_borrow_member_by_index_const(of, i)));
  if (type == BT_FIELD_CLASS_TYPE_STATIC_ARRAY)
    sum += product(bt_field_class_array_static_get_length(of),
                   fields_of(bt_field_class_array_borrow_element_field_class_const(of)));
  return sum;
}

thread_local bool limited = false;
thread_local uint64_t left = 0;

bool may_have(const bt_field* array, uint64_t length) {
  if (!limited) return true;
  const uint64_t before = bt_field_array_get_length(array);
  if (length <= before) return true;
  const uint64_t more =
      product(length - before,
              fields_of(bt_field_class_array_borrow_element_field_class_const(bt_field_borrow_class_const(array))));
  if (more >= left) return false;
  left -= more;
  return true;
}

/// The file that something is in, which is loaded.
void* library_of(const void* address, int mode) {
  Dl_info info;
  return dladdr(address, &info) == 0 ? nullptr : dlopen(info.dli_fname, RTLD_NOLOAD | RTLD_LAZY | mode);
}

}  // namespace

bool is_bounded(std::string_view metadata) try {
  Fields fields;
  uint64_t sum = 0;
  for (Tokens tokens; sum <= kMostFields && next_statement(metadata, tokens);) {
    const std::string_view* at = tokens.data();
    sum += fields.statement(at, at + tokens.size(), 0);
  }
  return sum <= kMostFields;
} catch (TooMuch) {
  return false;
}

// What reads CTF asks for this function by its name, of all who are loaded for everybody first.
void intercept_items() { static_cast<void>(library_of(reinterpret_cast<const void*>(&intercept_items), RTLD_GLOBAL)); }

ItemLimit::ItemLimit() {
  limited = true;
  left = kMostItems;
}
ItemLimit::~ItemLimit() { limited = false; }

}  // namespace poireau::native::babeltrace

extern "C" [[gnu::visibility("default")]] bt_field_array_dynamic_set_length_status bt_field_array_dynamic_set_length(
    bt_field* array, uint64_t length) noexcept {
  using namespace poireau::native::babeltrace;
  static const auto real = reinterpret_cast<decltype(&bt_field_array_dynamic_set_length)>(dlsym(
      library_of(reinterpret_cast<const void*>(&bt_field_array_get_length), 0), "bt_field_array_dynamic_set_length"));
  if (!may_have(array, length)) return BT_FIELD_DYNAMIC_ARRAY_SET_LENGTH_STATUS_MEMORY_ERROR;
  return real(array, length);
}
