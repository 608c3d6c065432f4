#pragma once
#include <elfutils/libdw.h>
#include <gelf.h>

#include <cstdint>
#include <memory>
#include <vector>

namespace poireau::symbols {

/// An ELF file that is open. Empty where there is none, or none that can be read.
class File {
 public:
  File() = default;
  explicit File(const char* path);
  /// What `.gnu_debugdata` of a file holds: its table of symbols, compressed.
  static File inside(const File& whole);

  Elf* elf() const { return elf_.get(); }
  explicit operator bool() const { return elf_ != nullptr; }

 private:
  void open(int descriptor);

  struct End {
    void operator()(Elf* elf) const { elf_end(elf); }
  };
  std::unique_ptr<Elf, End> elf_;
};

/// Where code can be. What a linker left out keeps its debug information, at addresses near 0.
class Code {
 public:
  explicit Code(const File& file);
  bool has(uint64_t address) const;

 private:
  struct Range {
    uint64_t begin, end;
  };
  std::vector<Range> ranges_;
};

}  // namespace poireau::symbols
