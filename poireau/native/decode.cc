#include "poireau/native/decode.h"

#include <algorithm>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "poireau/native/decode_metadata.h"
#include "poireau/native/decode_process.h"

// One process after the other; of who follows all of them, again and again, in turn. To look at one that may write
// takes system calls, and of thousands nearly all have ended: of those that were quiet only some are looked at each
// time.

using namespace poireau::native;

constexpr size_t kQuietAtATime = 256;

struct PoireauReader {
  explicit PoireauReader(bool follows) : follow(follows) {}

  uint32_t add(const char* directory) {
    inputs.emplace_back(directory);
    processes.emplace_back();
    quiet.push_back(false);
    return tables.process(directory, 0);
  }

  int32_t next(uint64_t most) {
    columns.clear();
    if (follow && at == inputs.size()) {
      at = 0;
      ++turn;
      turns = 1 + static_cast<size_t>(std::ranges::count(quiet, true)) / kQuietAtATime;
    }
    for (; at < inputs.size(); ++at) {
      std::unique_ptr<Process>& process = processes[at];
      if (quiet[at] && at % turns != turn % turns) continue;
      if (process == nullptr && !open(process)) {
        quiet[at] = follow;
        continue;
      }
      const uint64_t before = columns.events();
      if (process->read(columns, std::max<uint64_t>(most, 1))) {
        quiet[at] = false;
        return poireau_batch;
      }
      if (follow)
        process->rest();
      else
        process = nullptr;
      quiet[at] = follow && columns.events() == before;
    }
    if (columns.events() != 0) return poireau_batch;
    return follow ? poireau_nothing_yet : poireau_end;
  }

  void rewind(bool follows) {
    follow = follows;
    at = 0;
    for (auto& process : processes) process = nullptr;
    quiet.assign(inputs.size(), false);
    foreign.clear();
    tables.forget_losses();
  }

  /// Bytes of what is there, as it was when it was asked for first, and how far it is read.
  void progress(uint64_t& done, uint64_t& all) {
    while (sizes.size() < inputs.size()) sizes.push_back(Process::bytes_in(*directory_at(inputs[sizes.size()])));
    done = all = 0;
    for (size_t each = 0; each < inputs.size(); ++each) {
      const Process* const process = processes[each].get();
      done += process != nullptr ? std::min(process->done(), sizes[each]) : each < at ? sizes[each] : 0;
      all += sizes[each];
    }
  }

  bool follow;
  std::vector<std::string> inputs;
  std::vector<std::unique_ptr<Process>> processes;  // of those that are being read
  size_t at = 0;                                    // the input that is read
  std::vector<bool> quiet;                          // those that had nothing when they were looked at last
  size_t turn = 0, turns = 1;
  std::vector<uint64_t> sizes;
  std::vector<bool> foreign;  // inputs of which it was said
  Tables tables;
  Columns columns;
  std::string complaint;

 private:
  bool open(std::unique_ptr<Process>& process) {
    const auto number = static_cast<uint32_t>(at);
    process = Process::open(tables, number, directory_at(inputs[at]));
    foreign.resize(inputs.size());
    if (process == nullptr && !foreign[at]) {
      tables.lose(number, "its metadata is missing, or of another layout");
      foreign[at] = true;
    }
    return process != nullptr;
  }
};

namespace {

/// What `act` returns, or -1 and a complaint.
template <typename Act>
int32_t guarded(std::string& complaint, Act&& act) noexcept {
  const char* why;
  try {
    return act();
  } catch (const std::bad_alloc&) {
    why = "there is no memory left";
  } catch (const std::exception& error) {
    why = error.what();
  }
  try {
    complaint = why;
  } catch (...) {
  }
  return poireau_failed;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

PoireauReader* poireau_open(const char* const* inputs, size_t count, int32_t follow) {
  // Without memory for so little there is nobody who could be told.
  return [&]() noexcept {
    auto* const reader = new PoireauReader(follow != 0);
    for (size_t at = 0; at < count; ++at) reader->add(inputs[at]);
    return reader;
  }();
}

int32_t poireau_next(PoireauReader* reader, uint64_t most, PoireauBatch* batch) {
  return guarded(reader->complaint, [&] {
    const int32_t step = reader->next(most);
    reader->columns.show(*batch);
    return step;
  });
}

void poireau_tables(const PoireauReader* reader, PoireauTables* tables) { reader->tables.show(*tables); }

void poireau_rewind(PoireauReader* reader, int32_t follow) { reader->rewind(follow != 0); }

const char* poireau_complaint(const PoireauReader* reader) { return reader->complaint.c_str(); }

void poireau_progress(const PoireauReader* reader, uint64_t* done, uint64_t* all) {
  auto* const own = const_cast<PoireauReader*>(reader);  // to remember the sizes
  *done = *all = 0;
  guarded(own->complaint, [&] {
    own->progress(*done, *all);
    return 0;
  });
}

void poireau_close(PoireauReader* reader) { delete reader; }

int32_t poireau_recognizes(const char* directory) {
  std::string complaint;
  return guarded(complaint, [&] { return description_of(*directory_at(directory)) ? 1 : 0; }) == 1;
}

uint32_t poireau_add(PoireauReader* reader, const char* directory) {
  uint32_t number = UINT32_MAX;
  guarded(reader->complaint, [&] {
    number = reader->add(directory);
    return 0;
  });
  return number;
}
}
#pragma GCC visibility pop
