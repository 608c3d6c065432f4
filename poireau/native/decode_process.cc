#include "poireau/native/decode_process.h"

#include "poireau/native/decode_metadata.h"

namespace poireau::native {
namespace {

constexpr char kFacts[] = "facts", kSamples[] = "samples";

}  // namespace

std::unique_ptr<Process> Process::open(Tables& tables, uint32_t number, std::unique_ptr<Directory> directory) {
  const auto description = description_of(*directory);
  if (!description) return nullptr;
  tables.set_process_id(number, description->process);
  return std::unique_ptr<Process>(new Process(tables, number, std::move(directory), description->clock_offset));
}

Process::Process(Tables& tables, uint32_t number, std::unique_ptr<Directory> directory, int64_t clock_offset)
    : directory_(std::move(directory)),
      facts_(*directory_, kFacts, [&tables, number](auto cause, auto count) { tables.lose(number, cause, count); }),
      samples_(*directory_, kSamples, [&tables, number](auto cause, auto count) { tables.lose(number, cause, count); }),
      decoder_(tables, number, clock_offset) {}

bool Process::read(Columns& columns, uint64_t most) {
  while (columns.events() < most) {
    if (!samples_.ready() && !no_samples_) {
      no_samples_ = !samples_.load();
      if (!no_samples_) no_facts_ = false;
    } else if (!facts_.ready() && !no_facts_) {
      no_facts_ = !facts_.load();
      if (!no_facts_) no_samples_ = false;
    } else if (facts_.ready() && (!samples_.ready() || facts_.head().stamp <= samples_.head().stamp)) {
      decode(facts_, columns);
    } else if (samples_.ready()) {
      decode(samples_, columns);
    } else {
      no_samples_ = no_facts_ = false;
      return false;
    }
  }
  return true;
}

uint64_t Process::bytes_in(Directory& directory) {
  return bytes_of_stream(directory, kFacts) + bytes_of_stream(directory, kSamples);
}

void Process::rest() {
  facts_.rest();
  samples_.rest();
}

void Process::decode(Stream& stream, Columns& columns) {
  constexpr size_t kAhead = 8;
  if (const Event* const later = stream.behind(kAhead)) decoder_.expect(stream.packet(), *later);
  decoder_.decode(stream.packet(), stream.head(), columns);
  stream.pop();
}

}  // namespace poireau::native
