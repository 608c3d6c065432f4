#pragma once
#include <cstddef>
#include <cstdint>

/// What poireau/native/binding.py calls, by ctypes: a reader gives the events of traces in batches, as columns. Two
/// libraries have these functions: libpoireau-decode.so reads our own layout, libpoireau-babeltrace.so whatever
/// libbabeltrace2 does. Not for two threads at once.
///
/// What repeats is given once, in tables that grow, and as a number in columns: texts and build ids (strings), and
/// stacks, whose frames are addresses in modules. Number 0 is the empty string, the empty stack, and the module of what
/// lies in none. Times are nanoseconds since 1970.
extern "C" {

struct PoireauReader;

/// The rows of one kind of event, in the order in which they were written. Its fields are columns in the order of
/// event.def, each of its kind's type; text, bytes and frames are uint32_t: a string, a string, a stack.
struct PoireauRows {
  uint64_t count;
  const uint64_t* order;    // among all events of a process: what was written first has the lower number
  const uint32_t* process;  // whose: in the order in which inputs name them or they were first heard of
  const int64_t* stamp;     // when it was written
  const void* const* fields;
};

/// There until the next call with its reader.
struct PoireauBatch {
  uint64_t events;           // in all
  const PoireauRows* kinds;  // one for each event of event.def
};

/// There until the next batch. `ends`: where in the next array each one ends, and the next one begins.
struct PoireauTables {
  uint64_t strings;
  const uint64_t* string_ends;
  const char* string_bytes;
  uint64_t modules;  // a file of one build id, wherever it was mapped
  const uint32_t *module_path, *module_build_id;
  uint64_t frames;
  const uint32_t* frame_module;
  const uint32_t* frame_process;  // of what lies in no module; otherwise 0
  const uint64_t* frame_address;  // in the file as its symbols have it; of what lies in no module, in memory
  uint64_t stacks;
  const uint64_t* stack_ends;
  const uint32_t* stack_frames;  // innermost first
  uint64_t processes;
  const uint32_t* process_source;  // a string: the directory or the URL
  const uint32_t* process_id;      // 0: not known
  uint64_t losses;  // what could not be read: of which process (UINT32_MAX: of none), why (a string), how often
  const uint32_t *loss_process, *loss_cause;
  const uint64_t* loss_count;
};

enum PoireauStep : int32_t {
  poireau_failed = -1,  // poireau_complaint says why; what came before is good
  poireau_end = 0,
  poireau_batch = 1,
  poireau_nothing_yet = 2,  // of who follows: ask again later
};

/// Never nullptr; what is wrong with the inputs, poireau_next says. `follow`: what is written later is read too.
PoireauReader* poireau_open(const char* const* inputs, size_t count, int32_t follow);
/// About `most` events at a time.
int32_t poireau_next(PoireauReader* reader, uint64_t most, PoireauBatch* batch);
void poireau_tables(const PoireauReader* reader, PoireauTables* tables);
/// From the beginning again, with the tables as they are: the same stack has the same number. Losses are counted anew.
void poireau_rewind(PoireauReader* reader, int32_t follow);
const char* poireau_complaint(const PoireauReader* reader);
/// Bytes read, and bytes there are, as far as that is known; for progress.
void poireau_progress(const PoireauReader* reader, uint64_t* done, uint64_t* all);
void poireau_close(PoireauReader* reader);
}
