#pragma once
#include <cstdint>
#include <vector>

#include "poireau/native/symbols_file.h"
#include "poireau/native/symbols_stubs.h"

namespace poireau::symbols {

/// Functions as the tables of symbols have them. Their names lie in the files that were added.
class Table {
 public:
  struct Symbol {
    uint64_t begin, end;
    uint64_t reach;  // of one without size: where its section ends
    const char* name;
    int rank;  // of two that begin at the same place, the lower one is shown
  };

  explicit Table(const Code& code) : code_(code) {}
  /// Its table of all symbols, or else that of what other files see.
  void add(const File& file);
  /// What is in no file's table.
  void add(std::vector<Stub> stubs);
  /// To be called once all are there.
  void sort();

  /// The function that `address` lies in, or nullptr. A symbol without size reaches to the next one.
  const Symbol* find(uint64_t address) const;

 private:
  void add(const File& file, Elf_Scn* section, const GElf_Shdr& header);

  const Code& code_;
  std::vector<Stub> stubs_;
  std::vector<Symbol> symbols_;     // by where they begin
  std::vector<uint64_t> furthest_;  // where each one, or one before it, ends
};

}  // namespace poireau::symbols
