#pragma once
#include <iostream>
#include <span>
#include <string>
#include <string_view>

/// What the programs of the build that print a table as documents (poireau-options, poireau-events) have in common.
namespace poireau::documents {

struct Format {
  std::string_view flag;
  void (*print)(std::ostream&);
};

/// What `main` returns: the format that its one argument names is printed.
inline int print_one(std::span<const Format> formats, int argc, char** argv) {
  for (const Format& format : formats) {
    if (argc != 2 || argv[1] != format.flag) continue;
    format.print(std::cout);
    return std::cout.flush() ? 0 : 1;
  }
  std::cerr << "usage: " << (argc > 0 ? argv[0] : "?");
  const char* separator = " ";
  for (const Format& format : formats) {
    std::cerr << separator << format.flag;
    separator = " | ";
  }
  std::cerr << "\n";
  return 2;
}

inline std::string json_string(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + '"';
}

}  // namespace poireau::documents
