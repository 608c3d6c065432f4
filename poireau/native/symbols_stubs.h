#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "poireau/native/symbols_file.h"

namespace poireau::symbols {

/// Code of a linker's through which other files' functions are called. No table of symbols has it.
struct Stub {
  uint64_t begin, end;
  std::string name;  // function@plt
};

/// On x86-64; elsewhere none.
std::vector<Stub> stubs_of(const File& file);

}  // namespace poireau::symbols
