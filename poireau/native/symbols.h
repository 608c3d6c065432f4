#pragma once
#include <cstddef>
#include <cstdint>

/// What poireau/symbol_library.py calls, by ctypes: what the addresses of a file are called in its source. Debug
/// information is read in a child of the calling process, so that damaged files can cost it neither its life, nor
/// more memory or time than it grants. May be called by many threads at once.
extern "C" {

/// Nobody compares them here: that they belong together was made sure before. nullptr: there is none.
struct PoireauSymbolFiles {
  const char* binary;      // what was mapped
  const char* debug;       // where its debug information lies apart from it
  const char* supplement;  // what dwz took out of that, shared with other files
};

struct PoireauSymbolLimits {
  double seconds;
  uint64_t memory;    // bytes of address space beyond what the caller has
  int32_t no_places;  // names from the tables of symbols only
};

/// What was found out. There until it is freed.
struct PoireauSymbols;

/// A place is a function, a file and a line, and whether it was inlined into the place that follows. Functions and
/// files are numbers of strings, one after the other, each with its NUL; number 0 is the empty one: not known.
struct PoireauSymbolColumns {
  uint64_t addresses;    // as many as were asked for
  const uint64_t* ends;  // where the places of each one end, and those of the next one begin
  uint64_t places;       // innermost first; of an address of which nothing is known, none
  const uint32_t *function, *file, *line;
  const uint8_t* inlined;
  const char *functions, *files;
  uint64_t functions_size, files_size;  // in bytes
};

enum PoireauSymbolState : int32_t {
  poireau_symbols_good = 0,
  poireau_symbols_partial = 1,  // parts of the debug information lie in files that are not there
  poireau_symbols_unreadable = 2,
  poireau_symbols_crashed = 3,
  poireau_symbols_too_long = 4,
  poireau_symbols_interrupted = 5,  // by SIGINT
};

/// Addresses as the file's tables of symbols have them, each of them once, in ascending order. Never nullptr.
PoireauSymbols* poireau_symbolize(const PoireauSymbolFiles* files, const uint64_t* addresses, size_t count,
                                  const PoireauSymbolLimits* limits);
int32_t poireau_symbols_state(const PoireauSymbols* symbols);
void poireau_symbols_columns(const PoireauSymbols* symbols, PoireauSymbolColumns* columns);
void poireau_symbols_free(PoireauSymbols* symbols);
}
