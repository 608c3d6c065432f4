#include <cstdint>

#include "preload/stack_description.h"

// Where libgcc's unwinder, of which this library has a copy of its own, asks for the description (FDE) of the code at
// an address. Its own answer may lock, and for code of no file it has libgcc read that code to see what it is; an
// address off a damaged stack is nothing to read from. Ours looks into the files' tables alone, and says "the stack
// ends here" of all that it does not find there.

namespace {

/// A frame nobody has called.
struct [[gnu::packed]] {
  struct [[gnu::packed]] {
    uint32_t length = sizeof *this - sizeof length, id = 0;
    uint8_t version = 1;
    char augmentation = 0;
    uint8_t code_unit = 1, data_unit = 0x78, return_address = 16;
    uint8_t program[19] = {0x0c, 7, 8, 0x07, 16};  // its caller's stack pointer is rsp + 8; the return address has none
  } common;
  struct [[gnu::packed]] {
    uint32_t length = sizeof *this - sizeof length, to_common = sizeof common + sizeof length;
    uint64_t begin = 0, size = 0;
    uint8_t program[8] = {};
  } description;
} constexpr kEnd;
static_assert(sizeof kEnd.common % 8 == 0);

}  // namespace

struct dwarf_eh_bases {
  void *text, *data, *function;
};

extern "C" [[gnu::visibility("hidden")]] const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases) {
  poireau::stack::Description found;
  const bool known = describe(reinterpret_cast<uintptr_t>(pc), found) == poireau::stack::Described::yes;
  *bases = {nullptr, nullptr, known ? reinterpret_cast<void*>(found.begin) : pc};
  return known ? found.entry : &kEnd.description;
}
