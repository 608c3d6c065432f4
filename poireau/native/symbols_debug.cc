#include "poireau/native/symbols_debug.h"

#include <dwarf.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "poireau/native/symbols_name.h"

namespace poireau::symbols {
namespace {

constexpr int kDeepest = 256;           // scopes in each other
constexpr size_t kMostCandidates = 64;  // units looked at that began before an address

uint32_t number_of(Dwarf_Die& die, unsigned name) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  if (dwarf_attr(&die, name, &attribute) == nullptr || dwarf_formudata(&attribute, &value) != 0) return 0;
  return static_cast<uint32_t>(value);
}

const char* linkage_name(Dwarf_Die& die) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_linkage_name, DW_AT_MIPS_linkage_name}) {
    if (dwarf_attr_integrate(&die, name, &attribute) != nullptr) return dwarf_formstring(&attribute);
  }
  return nullptr;
}

bool may_hold_functions(int tag) {
  switch (tag) {
    case DW_TAG_lexical_block:
    case DW_TAG_namespace:
    case DW_TAG_module:
    case DW_TAG_structure_type:
    case DW_TAG_class_type:
    case DW_TAG_union_type:
    case DW_TAG_enumeration_type:
    case DW_TAG_try_block:
    case DW_TAG_catch_block:
    case DW_TAG_with_stmt:
    case DW_TAG_common_block:
      return true;
    default:
      return false;
  }
}

/// What a function that was inlined, or the code of one, is an instance of.
Dwarf_Die origin_of(Dwarf_Die die) {
  Dwarf_Attribute attribute;
  for (const unsigned name : {DW_AT_abstract_origin, DW_AT_specification}) {
    Dwarf_Die next;
    if (dwarf_attr(&die, name, &attribute) != nullptr && dwarf_formref_die(&attribute, &next) != nullptr) die = next;
  }
  return die;
}

/// With the namespaces, classes and functions it is in, if these are of the same unit.
std::string qualified(const Unit& unit, Dwarf_Die die, const char* name) {
  std::string out = name;
  if (unit.containers.empty() || die.cu != unit.containers[0].die.cu) return out;
  const Dwarf_Off at = dwarf_dieoffset(&die);
  const auto after = std::upper_bound(unit.containers.begin() + 1, unit.containers.end(), at,
                                      [](Dwarf_Off offset, const Container& container) {
                                        Dwarf_Die begin = container.die;
                                        return offset <= dwarf_dieoffset(&begin);
                                      });
  for (auto each = static_cast<uint32_t>(after - unit.containers.begin()) - 1; each != 0;) {
    const Container& container = unit.containers[each];
    each = container.parent;
    if (container.end < at) continue;
    Dwarf_Die outer = container.die;
    const char* linkage = linkage_name(outer);
    const char* plain = dwarf_diename(&outer);
    if (linkage != nullptr) return as_written(linkage) + "::" + out;
    const char* unnamed = dwarf_tag(&outer) == DW_TAG_namespace ? "(anonymous namespace)"
                          : out.find("operator()") == 0         ? "{lambda}"
                                                                : "{unnamed}";
    out = std::string(plain == nullptr ? unnamed : plain) + "::" + out;
  }
  return out;
}

/// The row that `address` lies in, or nullptr.
Dwarf_Line* row_of(const Unit& unit, uint64_t address) {
  size_t below = 0;
  for (size_t count = unit.line_count; count > 0;) {
    const size_t half = count / 2;
    Dwarf_Addr at = 0;
    if (dwarf_lineaddr(dwarf_onesrcline(unit.lines, below + half), &at) != 0) return nullptr;
    if (at <= address) {
      below += half + 1;
      count -= half + 1;
    } else {
      count = half;
    }
  }
  Dwarf_Line* row = below == 0 ? nullptr : dwarf_onesrcline(unit.lines, below - 1);
  bool is_end = true;
  return row == nullptr || dwarf_lineendsequence(row, &is_end) != 0 || is_end ? nullptr : row;
}

}  // namespace

Debug::Debug(const File& file, const File& supplement, const Code& code, const Table& table, Answer& answer)
    : code_(code), table_(table), answer_(answer) {
  if (!file) return;
  debug_ = dwarf_begin_elf(file.elf(), DWARF_C_READ, nullptr);
  if (debug_ == nullptr) return;
  if (supplement) supplement_ = dwarf_begin_elf(supplement.elf(), DWARF_C_READ, nullptr);
  if (supplement_ != nullptr) dwarf_setalt(debug_, supplement_);
  find_units();
}

Debug::~Debug() {
  dwarf_end(debug_);
  dwarf_end(supplement_);
}

void Debug::find_units() {
  Dwarf_CU* unit = nullptr;
  Dwarf_Die die;
  while (dwarf_get_units(debug_, unit, &unit, nullptr, nullptr, &die, nullptr) == 0) {
    const int tag = dwarf_tag(&die);
    if (tag != DW_TAG_compile_unit && tag != DW_TAG_skeleton_unit) continue;
    add_ranges(die, static_cast<uint32_t>(units_.size()), unit_ranges_);
    units_.emplace_back().die = die;
  }
  // Of two that have the same address, the shorter one is looked at first.
  std::sort(unit_ranges_.begin(), unit_ranges_.end(), [](const Range& one, const Range& other) {
    return one.begin != other.begin ? one.begin < other.begin : one.end > other.end;
  });
  uint64_t furthest = 0;
  for (const Range& range : unit_ranges_) furthest_.push_back(furthest = std::max(furthest, range.end));
}

bool Debug::add(uint64_t address) {
  const auto after = std::upper_bound(unit_ranges_.begin(), unit_ranges_.end(), address,
                                      [](uint64_t at, const Range& range) { return at < range.begin; });
  const size_t nearest = static_cast<size_t>(after - unit_ranges_.begin());
  const size_t first = nearest - std::min(nearest, kMostCandidates);
  for (size_t i = nearest; i-- > first && furthest_[i] > address;) {
    if (unit_ranges_[i].end > address && add_from(units_[unit_ranges_[i].which], address)) return true;
  }
  return false;
}

bool Debug::add_from(Unit& unit, uint64_t address) {
  if (!unit.read) read(unit);
  const auto after = std::upper_bound(unit.stretches.begin(), unit.stretches.end(), address,
                                      [](uint64_t at, const Stretch& stretch) { return at < stretch.begin; });
  uint32_t number = after == unit.stretches.begin() ? 0 : std::prev(after)->scope;
  Dwarf_Line* row = row_of(unit, address);
  if (number == 0 && row == nullptr) return false;
  int line = 0;
  if (row != nullptr) dwarf_lineno(row, &line);
  uint32_t file = row == nullptr ? 0 : file_number(unit, dwarf_linesrc(row, nullptr, nullptr));
  if (number == 0) {  // assembly
    answer_.add(symbol_number(address), file, static_cast<uint32_t>(line), false);
    return true;
  }
  for (; number != 0; number = unit.scopes[number].parent) {
    Scope& scope = unit.scopes[number];
    answer_.add(function_of(unit, scope, address), file, static_cast<uint32_t>(line),
                scope.inlined && scope.parent != 0);
    if (!scope.inlined) break;
    file = file_number(unit, unit.files == nullptr
                                 ? nullptr
                                 : dwarf_filesrc(unit.files, number_of(scope.die, DW_AT_call_file), nullptr, nullptr));
    line = static_cast<int>(number_of(scope.die, DW_AT_call_line));
  }
  return true;
}

void Debug::read(Unit& unit) {
  unit.read = true;
  unit.scopes.resize(1);
  if (dwarf_getsrclines(&unit.die, &unit.lines, &unit.line_count) != 0) unit.line_count = 0;
  Dwarf_Die whole = unit.die, split{};
  uint8_t kind = 0;
  dwarf_cu_info(unit.die.cu, nullptr, &kind, nullptr, &split, nullptr, nullptr, nullptr);
  if (kind == DW_UT_skeleton) {
    if (split.addr == nullptr) {
      answer_.partial = true;
      return;
    }
    whole = split;
  }
  size_t count = 0;
  if (dwarf_getsrcfiles(&whole, &unit.files, &count) != 0) unit.files = nullptr;
  std::vector<Range> ranges;
  unit.containers.push_back({whole, 0, 0});
  walk(unit, whole, {}, ranges);
  unit.stretches = stretches_of(std::move(ranges));
  name_hidden(unit);
}

void Debug::walk(Unit& unit, Dwarf_Die& parent, Place place, std::vector<Range>& ranges) {
  Dwarf_Die die;
  if (place.depth > kDeepest || dwarf_child(&parent, &die) != 0) return;
  Dwarf_Off before = 0;
  do {
    // In damaged files a next one may lie before this one, for ever.
    const Dwarf_Off at = dwarf_dieoffset(&die);
    if (at <= before) return;
    before = at;
    const int tag = dwarf_tag(&die);
    Place inside{place.scope, place.container, place.depth + 1};
    if (tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine) {
      const auto number = static_cast<uint32_t>(unit.scopes.size());
      const size_t known = ranges.size();
      add_ranges(die, number, ranges);
      if (ranges.size() != known) {
        unit.scopes.push_back({die, place.scope, tag == DW_TAG_inlined_subroutine});
        inside.scope = number;
      }
    } else if (!may_hold_functions(tag)) {
      continue;
    }
    if (dwarf_haschildren(&die) == 0) continue;
    if (tag != DW_TAG_lexical_block && tag != DW_TAG_inlined_subroutine) {
      inside.container = static_cast<uint32_t>(unit.containers.size());
      unit.containers.push_back({die, place.container, at});
    }
    walk(unit, die, inside, ranges);
  } while (dwarf_siblingof(&die, &die) == 0);
  for (uint32_t each = place.container; each != 0 && unit.containers[each].end < before;) {
    unit.containers[each].end = before;
    each = unit.containers[each].parent;
  }
}

void Debug::add_ranges(Dwarf_Die& die, uint32_t which, std::vector<Range>& ranges) const {
  Dwarf_Addr base = 0, begin = 0, end = 0;
  for (ptrdiff_t at = 0; (at = dwarf_ranges(&die, at, &base, &begin, &end)) > 0;) {
    if (begin < end && code_.has(begin)) ranges.push_back({begin, end, which});
  }
}

std::vector<Stretch> Debug::stretches_of(std::vector<Range> ranges) {
  // What encloses comes first: it is longer, or has the lower number.
  std::sort(ranges.begin(), ranges.end(), [](const Range& one, const Range& other) {
    if (one.begin != other.begin) return one.begin < other.begin;
    return one.end != other.end ? one.end > other.end : one.which < other.which;
  });
  std::vector<Stretch> out;
  std::vector<Range> open;
  const auto from = [&](uint64_t begin, uint32_t scope) {
    if (!out.empty() && out.back().begin == begin) out.pop_back();
    out.push_back({begin, scope});
  };
  const auto close_until = [&](uint64_t address) {
    while (!open.empty() && open.back().end <= address) {
      const uint64_t end = open.back().end;
      while (!open.empty() && open.back().end <= end) open.pop_back();
      from(end, open.empty() ? 0 : open.back().which);
    }
  };
  for (const Range& range : ranges) {
    close_until(range.begin);
    from(range.begin, range.which);
    open.push_back(range);
  }
  close_until(UINT64_MAX);
  return out;
}

// What no other file sees has a name without parameters, and without what it is in. Tables of symbols have the whole of
// it, perhaps as that of a part or a copy that the compiler made. What was inlined is to be called the same.
void Debug::name_hidden(Unit& unit) {
  for (Scope& scope : unit.scopes) {
    if (scope.die.addr == nullptr || scope.inlined || linkage_name(scope.die) != nullptr) continue;
    Dwarf_Addr base = 0, begin = 0, end = 0;
    for (ptrdiff_t at = 0; (at = dwarf_ranges(&scope.die, at, &base, &begin, &end)) > 0;) {
      const Table::Symbol* symbol = table_.find(begin);
      if (symbol == nullptr || symbol->begin != begin || strncmp(symbol->name, "_Z", 2) != 0) continue;
      const std::string whole(symbol->name, strcspn(symbol->name, "."));
      hidden_.try_emplace(origin_of(scope.die).addr, answer_.functions.number(as_written(whole.c_str())));
    }
  }
}

uint32_t Debug::function_of(const Unit& unit, Scope& scope, uint64_t address) {
  const auto [at, is_new] = functions_.try_emplace(scope.die.addr, 0);
  if (!is_new) return at->second;
  if (const char* linkage = linkage_name(scope.die)) return at->second = name_number(linkage);
  const Dwarf_Die origin = origin_of(scope.die);
  const auto hidden = hidden_.find(origin.addr);
  if (hidden != hidden_.end()) return at->second = hidden->second;
  const char* plain = dwarf_diename(&scope.die);
  if (plain != nullptr) return at->second = answer_.functions.number(qualified(unit, origin, plain));
  return at->second = scope.inlined ? 0 : symbol_number(address);
}

uint32_t Debug::symbol_number(uint64_t address) {
  const Table::Symbol* symbol = table_.find(address);
  return symbol == nullptr ? 0 : name_number(symbol->name);
}

uint32_t Debug::file_number(Unit& unit, const char* path) {
  if (path == nullptr || strcmp(path, "???") == 0) return 0;
  const auto [at, is_new] = files_.try_emplace(path, 0);
  if (!is_new) return at->second;
  Dwarf_Attribute attribute;
  const char* directory = nullptr;
  if (*path != '/' && dwarf_attr(&unit.die, DW_AT_comp_dir, &attribute) != nullptr) {
    directory = dwarf_formstring(&attribute);
  }
  return at->second = answer_.files.number(directory == nullptr ? path : directory + std::string("/") + path);
}

uint32_t Debug::name_number(const char* linkage_name) {
  const auto [at, is_new] = names_.try_emplace(linkage_name, 0);
  if (is_new) at->second = answer_.functions.number(as_written(linkage_name));
  return at->second;
}

}  // namespace poireau::symbols
