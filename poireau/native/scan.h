#pragma once
#include <cstddef>
#include <cstdint>

/// What poireau/scan_library.py calls, by ctypes: which of a process's sampled blocks a word somewhere in its memory
/// points into. A process is read as it runs, without touching what it has not in memory; a core is a file. Which
/// blocks there are is found in the library's own records of them, in the memory that is read.
///
///   blocks            the live ones, by their records
///   begin             registers and stacks, each thread stopped for a moment, or all of them while the budget lasts
///   step, until 0     the ranges given to begin; then blocks that were reached, and what they point at
///   finish            who of the others is pointed at by others alone
///
/// A word is eight bytes at a multiple of four. One caller at a time. Functions return 0, or -1: the process has
/// gone; -2: there is no memory for it.
extern "C" {

struct PoireauScan;

struct PoireauScanRange {
  uint64_t begin, end;
  uint32_t how;  // a sum of these
};
enum : uint32_t {
  poireau_scan_shared = 1,  // pages shared with others are read as well; else those that are the process's own
  poireau_scan_stack = 2,   // the first thread's
};

struct PoireauScanSegment {
  uint64_t address, offset, size;  // size: in the file
};

struct PoireauScanBlock {
  uint64_t address, size, id;
  uint64_t period, since, time;  // of its birth; time in ticks
  uint32_t thread, state;
};
enum : uint32_t {
  poireau_scan_unknown = 0,
  poireau_scan_reached = 1,
  poireau_scan_lost = 2,      // before `finish`: unknown
  poireau_scan_indirect = 3,  // only blocks that are lost point at it
};

enum : uint32_t { poireau_scan_memory = 0, poireau_scan_register = 1, poireau_scan_block = 2, poireau_scan_kernel = 3 };
struct PoireauScanHit {
  uint64_t at;      // the word's address; of a register its place among the bytes of the registers
  uint64_t inside;  // of the block, where it points
  uint32_t block;
  uint32_t from;  // where it is, as above
  uint32_t who;   // of a register the thread, of a block the block that has it, else what the caller said
  uint32_t set;   // of a register: 0 general ones, 1 vectors and the like
};

struct PoireauScanThread {
  uint64_t sp, fs;
  uint64_t dead_begin, dead_end;  // below its stack: not read
  uint64_t stopped;               // nanoseconds
  uint32_t tid;
  uint32_t error;  // why it has no registers; 0: it has
};

struct PoireauScanColumns {
  uint64_t blocks;
  const PoireauScanBlock* block;  // by address
  uint64_t hits;
  const PoireauScanHit* hit;
  uint64_t threads;
  const PoireauScanThread* thread;
  uint64_t read;      // bytes
  uint64_t swapped;   // bytes that are swapped out, and were left there
  uint64_t too_wide;  // bytes of addresses so many that nobody could say where something is in them
  uint64_t stopped;   // nanoseconds that the process, or its worst thread, was
};

/// Of what it could not do: an errno; 0: nothing. Never nullptr.
/// `plain`: what is in memory is asked as it was before Linux 6.7, page by page.
PoireauScan* poireau_scan_process(int32_t pid, int32_t plain);
PoireauScan* poireau_scan_core(const char* path, const PoireauScanSegment* segments, size_t count);
int32_t poireau_scan_error(const PoireauScan* scan);
void poireau_scan_free(PoireauScan* scan);

/// How many bytes there are from `at` on without a gap, up to `size`: copies them.
size_t poireau_scan_read(PoireauScan* scan, uint64_t at, void* to, size_t size);

/// `homes`: the mappings of our region. 1: the records in there are another version's, and not understood.
int32_t poireau_scan_blocks(PoireauScan* scan, const PoireauScanRange* homes, size_t count);
/// Of a core: its threads, before `begin`.
int32_t poireau_scan_know(PoireauScan* scan, const PoireauScanThread* threads, size_t count);
/// budget: nanoseconds that the whole process may be stopped; 0: a thread after the other.
int32_t poireau_scan_begin(PoireauScan* scan, const PoireauScanRange* ranges, size_t count, uint64_t budget);
/// Bytes that are to count as a register's, or a word's that the kernel keeps.
void poireau_scan_bytes(PoireauScan* scan, const void* bytes, size_t size, uint32_t from, uint32_t who, uint32_t set);
/// About so many bytes more. 1: there is more to do; 0: that was all.
int32_t poireau_scan_step(PoireauScan* scan, uint64_t bytes);
int32_t poireau_scan_finish(PoireauScan* scan);
void poireau_scan_columns(const PoireauScan* scan, PoireauScanColumns* columns);

/// Offsets of the words in `bytes` that lie in our region; `out` has room for size / 4. How many. `plain`: the way of
/// processors that know nothing wider.
size_t poireau_scan_words(const char* bytes, size_t size, uint32_t* out, int32_t plain);
/// A C++ symbol as people write it, or 0; how many bytes with its NUL.
size_t poireau_scan_demangle(const char* symbol, char* to, size_t size);
}
