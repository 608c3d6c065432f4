#pragma once
#include <cstdint>

namespace poireau::replay {

/// What `poireau-replay --encode` reads from standard input: records, in the order of time as far as that is known.
struct Record {
  enum Kind : uint8_t {
    birth,
    resize,  // of `old`, which is then called `id`
    release,
    late,   // a birth that lies before what there is
    name,   // not of a call: `function` is called by the `size` bytes that follow
    facts,  // last: the `size` bytes that follow are the file's facts
  };
  int64_t time;
  uint64_t id, old, size;
  uint32_t thread;
  uint16_t function;
  Kind kind;
  uint8_t alignment;  // logarithm
};
static_assert(sizeof(Record) == 40);

/// Writes the file of calls to `out`. Memory grows with live blocks and threads. Returns nullptr, or what is wrong.
[[nodiscard]] const char* encode(int in, int out);

}  // namespace poireau::replay
