#include "poireau/native/babeltrace_tokens.h"

#include <algorithm>

namespace poireau::native::babeltrace {
namespace {

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

/// Takes one off the front; empty: there is none left, or none that is complete.
std::string_view next_token(std::string_view& text) {
  for (;;) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r\n\f\v"), text.size()));
    const bool line = text.starts_with("//");
    if (!line && !text.starts_with("/*")) break;
    const size_t end = text.find(line ? "\n" : "*/", 2);
    if (end == text.npos) return text = {};
    text.remove_prefix(end + (line ? 1 : 2));
  }
  if (text.empty()) return {};
  size_t size = 1;
  if (text[0] == '"') {
    while (size < text.size() && text[size] != '"') size += text[size] == '\\' ? 2 : 1;
    if (size >= text.size()) return text = {};
    ++size;
  } else if (is_word(text[0])) {
    while (size < text.size() && is_word(text[size])) ++size;
  } else if (text.starts_with(":=")) {
    size = 2;
  }
  const std::string_view token = text.substr(0, size);
  text.remove_prefix(size);
  return token;
}

}  // namespace

bool next_statement(std::string_view& text, Tokens& out) {
  out.clear();
  for (size_t depth = 0;;) {
    const std::string_view token = next_token(text);
    if (token.empty()) return false;
    if (token == ";" && depth == 0) return true;
    if (token == "{") ++depth;
    if (token == "}" && depth-- == 0) return false;
    out.push_back(token);
  }
}

size_t complete(std::string_view text) {
  const size_t all = text.size();
  size_t good = 0;
  for (Tokens tokens; next_statement(text, tokens);) good = all - text.size();
  return good;
}

}  // namespace poireau::native::babeltrace
