#pragma once
#include <elfutils/libdw.h>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "poireau/native/symbols_answer.h"
#include "poireau/native/symbols_file.h"
#include "poireau/native/symbols_table.h"

namespace poireau::symbols {

/// A function's code, or that of one inlined into another. Number 0 is none.
struct Scope {
  Dwarf_Die die;
  uint32_t parent;
  bool inlined;
};

/// Which scope is innermost from `begin` on, up to the next stretch.
struct Stretch {
  uint64_t begin;
  uint32_t scope;
};

/// A namespace, a class or a function that others are in.
struct Container {
  Dwarf_Die die;
  uint32_t parent;
  Dwarf_Off end;  // of what was found in it
};

/// What a compiler was given at once, and whose scopes are looked up in one array.
struct Unit {
  Dwarf_Die die;
  bool read = false;
  std::vector<Scope> scopes;
  std::vector<Stretch> stretches;
  std::vector<Container> containers;  // by where they begin; number 0 is the unit
  Dwarf_Lines* lines = nullptr;
  size_t line_count = 0;
  Dwarf_Files* files = nullptr;
};

/// The places of a file's addresses, as its debug information has them. A unit is read when an address first lies in
/// it.
class Debug {
 public:
  Debug(const File& file, const File& supplement, const Code& code, const Table& table, Answer& answer);
  ~Debug();
  Debug(const Debug&) = delete;
  Debug& operator=(const Debug&) = delete;

  explicit operator bool() const { return debug_ != nullptr; }

  /// Adds an address's places to the answer. False: nothing is known.
  bool add(uint64_t address);

 private:
  struct Range {
    uint64_t begin, end;
    uint32_t which;
  };

  void find_units();
  bool add_from(Unit& unit, uint64_t address);
  void read(Unit& unit);
  struct Place {
    uint32_t scope, container;
    int depth;
  };
  void walk(Unit& unit, Dwarf_Die& parent, Place place, std::vector<Range>& ranges);
  void add_ranges(Dwarf_Die& die, uint32_t which, std::vector<Range>& ranges) const;
  static std::vector<Stretch> stretches_of(std::vector<Range> ranges);

  void name_hidden(Unit& unit);
  uint32_t function_of(const Unit& unit, Scope& scope, uint64_t address);
  uint32_t symbol_number(uint64_t address);
  uint32_t file_number(Unit& unit, const char* path);
  uint32_t name_number(const char* linkage_name);

  const Code& code_;
  const Table& table_;
  Answer& answer_;
  Dwarf* debug_ = nullptr;
  Dwarf* supplement_ = nullptr;
  std::vector<Unit> units_;
  std::vector<Range> unit_ranges_;  // by where they begin
  std::vector<uint64_t> furthest_;  // where each one, or one before it, ends
  // By where the debug information has them: the same name many times. `hidden`: functions that have no linkage name.
  std::unordered_map<const void*, uint32_t> functions_, names_, files_, hidden_;
};

}  // namespace poireau::symbols
