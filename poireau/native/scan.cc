#include "poireau/native/scan.h"

#include <cxxabi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "poireau/native/scan_blocks.h"
#include "poireau/native/scan_memory.h"
#include "poireau/native/scan_threads.h"
#include "poireau/native/scan_words.h"

using namespace poireau::scan;

namespace {

constexpr unsigned kWorkers = 2;
constexpr size_t kAtATime = 16;               // pieces that a worker takes
constexpr uint64_t kWorthAThread = 4 << 20;   // bytes
constexpr uint64_t kInAStop = 4 << 20;        // bytes between two looks at the clock
constexpr uint64_t kStackInAStop = 64 << 10;  // of each thread: what moves most; the rest is read as all else is
constexpr uint64_t kRedZone = 128;            // below the stack pointer, and in use
constexpr uint64_t kThread = 4 << 10;         // what pthreads have above fs
constexpr uint64_t kWidestStack = uint64_t{1} << 30;
constexpr uint8_t kMostHits = 4;  // of a block

enum class Mode { mark, point, flood };

uint64_t bytes_of(const std::vector<Piece>& pieces) {
  uint64_t sum = 0;
  for (const Piece& piece : pieces) sum += piece.size;
  return sum;
}

}  // namespace

struct PoireauScan {
  explicit PoireauScan(std::unique_ptr<Memory> opened, int process) : memory(std::move(opened)), pid(process) {}

  struct Worker {
    std::vector<PoireauScanHit> hits;
    std::vector<uint32_t> fresh;  // blocks that nobody had pointed at before
    std::vector<uint32_t> words = std::vector<uint32_t>(kMostPiece / kStep);
    uint64_t read = 0;
  };

  void look(Worker& worker, Mode mode, const char* data, size_t size, const PoireauScanHit& where) {
    const size_t count = find_words(data, size, worker.words.data());
    for (size_t i = 0; i < count; ++i) {
      const uint32_t offset = worker.words[i];
      uint64_t word;
      memcpy(&word, data + offset, sizeof word);
      const uint32_t block = blocks.at(word);
      if (block == Blocks::kNone || (where.from == poireau_scan_block && where.who == block)) continue;
      meet(worker, mode, block);
      std::atomic_ref<uint8_t> known(held[block]);
      if (mode == Mode::flood || known.load(std::memory_order_relaxed) >= kMostHits) continue;
      if (known.fetch_add(1, std::memory_order_relaxed) >= kMostHits) {
        known.store(kMostHits, std::memory_order_relaxed);
        continue;
      }
      PoireauScanHit hit = where;
      hit.at += offset;
      hit.inside = word - blocks.all()[block].address;
      hit.block = block;
      worker.hits.push_back(hit);
    }
  }

  void meet(Worker& worker, Mode mode, uint32_t block) {
    std::atomic_ref<uint32_t> state(blocks.all()[block].state);
    uint32_t unknown = poireau_scan_unknown;
    if (mode == Mode::point) {
      if (state.load(std::memory_order_relaxed) == poireau_scan_unknown) pointed[block] = true;
    } else if (state.compare_exchange_strong(unknown,
                                             mode == Mode::mark ? poireau_scan_reached : poireau_scan_indirect)) {
      worker.fresh.push_back(block);
    }
  }

  void look_at(Worker& worker, Mode mode, const Piece& piece, uint64_t begin, const char* data, size_t size) {
    const bool of_block = piece.block != kNoBlock;
    const uint64_t skipped = (kStep - begin % kStep) % kStep;
    worker.read += size;
    if (size <= skipped) return;
    look(worker, mode, data + skipped, size - skipped,
         {.at = begin + skipped,
          .inside = 0,
          .block = 0,
          .from = of_block ? poireau_scan_block : poireau_scan_memory,
          .who = of_block ? piece.block : 0,
          .set = 0});
  }

  void read(const std::vector<Piece>& some, Mode mode) {
    std::atomic<size_t> next{0};
    const auto work = [&](Worker& worker) {
      for (size_t at; (at = next.fetch_add(kAtATime)) < some.size();) {
        const size_t count = std::min(kAtATime, some.size() - at);
        memory->read({some.data() + at, count}, [&](const Piece& piece, const char* data, size_t size) {
          look_at(worker, mode, piece, piece.begin, data, size);
        });
      }
    };
    if (bytes_of(some) < kWorthAThread || mode == Mode::point) {
      work(workers[0]);
    } else {
      std::exception_ptr failed;
      std::thread other([&] {
        try {
          work(workers[1]);
        } catch (...) {
          failed = std::current_exception();
        }
      });
      try {
        work(workers[0]);
      } catch (...) {
        next = some.size();
        other.join();
        throw;
      }
      other.join();
      if (failed) std::rethrow_exception(failed);
    }
    gather();
  }

  void gather() {
    for (Worker& worker : workers) {
      hits.insert(hits.end(), worker.hits.begin(), worker.hits.end());
      frontier.insert(frontier.end(), worker.fresh.begin(), worker.fresh.end());
      bytes += worker.read;
      worker.hits.clear();
      worker.fresh.clear();
      worker.read = 0;
    }
  }

  /// What is there of a block's bytes: what was never touched stays so.
  void add_block(uint32_t number, std::vector<Piece>& out) const {
    const PoireauScanBlock& block = blocks.all()[number];
    const uint64_t end = block.address + block.size;
    auto piece = std::ranges::upper_bound(home_pieces, block.address, {}, &Piece::begin);
    if (piece != home_pieces.begin()) --piece;
    for (; piece != home_pieces.end() && piece->begin < end; ++piece) {
      const uint64_t from = std::max(block.address, piece->begin), upto = std::min(end, piece->begin + piece->size);
      if (from < upto) out.push_back({from, upto - from, number});
    }
  }

  /// False: that was all.
  bool step(uint64_t most) {
    std::vector<Piece> some;
    for (uint64_t sum = 0; sum < most && next_piece < pieces.size(); sum += some.back().size)
      some.push_back(pieces[next_piece++]);
    for (uint64_t sum = bytes_of(some); sum < most && next_piece == pieces.size() && !frontier.empty();) {
      const size_t before = some.size();
      add_block(frontier.back(), some);
      frontier.pop_back();
      for (size_t i = before; i < some.size(); ++i) sum += some[i].size;
    }
    read(some, Mode::mark);
    return next_piece < pieces.size() || !frontier.empty();
  }

  /// Below a thread's stack pointer nothing counts, as far as that is its stack and nobody else's.
  void bury(PoireauScanThread& thread) const {
    const auto range =
        std::ranges::find_if(ranges, [&](const Range& one) { return one.begin <= thread.sp && thread.sp < one.end; });
    if (range == ranges.end()) return;
    const bool first = (range->how & poireau_scan_stack) != 0;
    const bool own = thread.fs > thread.sp && thread.fs < range->end && thread.fs - thread.sp < kWidestStack;
    if (!first && !own) return;
    uint64_t begin = range->begin;
    for (const PoireauScanThread& other : threads)
      for (const uint64_t at : {other.fs + kThread, other.sp})
        if (&other != &thread && at >= begin && at < thread.sp) begin = at;
    const uint64_t end = thread.sp - kRedZone;
    if (begin < end) {
      thread.dead_begin = begin;
      thread.dead_end = end;
    }
  }

  void meet_thread(PoireauScanThread& thread, std::span<const Registers> registers) {
    const auto who = static_cast<uint32_t>(&thread - threads.data());
    for (const Registers& each : registers)
      look(workers[0], Mode::mark, each.set.data(), each.set.size(),
           {.at = 0, .inside = 0, .block = 0, .from = poireau_scan_register, .who = who, .set = each.number});
    if (thread.error != 0) return;
    for (const Range& range : ranges) {
      if (thread.sp < range.begin || thread.sp >= range.end) continue;
      const uint64_t begin = std::max(range.begin, thread.sp - kRedZone) & ~uint64_t{kStep - 1};
      std::vector<Piece> some;
      memory->present({begin & ~uint64_t{kPage - 1},
                       std::min(range.end, (begin + kStackInAStop) & ~uint64_t{kPage - 1}), range.how},
                      some);
      memory->read(some, [&](const Piece& piece, const char* data, size_t size) {
        const uint64_t skipped = begin > piece.begin ? std::min<uint64_t>(begin - piece.begin, size) : 0;
        look_at(workers[0], Mode::mark, piece, piece.begin + skipped, data + skipped, size - skipped);
      });
    }
    gather();
  }

  void lay_out() {
    for (PoireauScanThread& thread : threads)
      if (thread.error == 0) bury(thread);
    std::vector<std::pair<uint64_t, uint64_t>> dead;
    for (const PoireauScanThread& thread : threads)
      if (thread.dead_end != 0) dead.emplace_back(thread.dead_begin, thread.dead_end);
    std::ranges::sort(dead);
    pieces.clear();
    for (const Range& range : ranges) {
      std::vector<Piece> there;
      memory->present(range, there);
      for (Piece piece : there) {
        for (const auto& [begin, end] : dead) {
          if (end <= piece.begin || begin >= piece.begin + piece.size) continue;
          if (begin > piece.begin) pieces.push_back({piece.begin, begin - piece.begin, kNoBlock});
          const uint64_t upto = std::min(end, piece.begin + piece.size);
          piece.size -= upto - piece.begin;
          piece.begin = upto;
        }
        if (piece.size != 0) pieces.push_back(piece);
      }
    }
    for (const Range& range : blocks.others()) memory->present(range, pieces);
    home_pieces.clear();
    for (const Range& range : homes) memory->present(range, home_pieces);
    std::ranges::sort(home_pieces, {}, &Piece::begin);
  }

  void begin(uint64_t budget) {
    const auto met = [this](PoireauScanThread& thread, std::span<const Registers> registers) {
      meet_thread(thread, registers);
    };
    threads.reserve(1 << 16);  // they are referred to
    if (budget == 0 || pid == 0) {
      if (pid != 0) stopped = visit_each(pid, threads, met);
      lay_out();
      return;
    }
    bool laid_out = false;
    stopped = visit_stopped(pid, budget, threads, met, [&](uint64_t left) {
      const uint64_t until = now() + left;
      lay_out();
      laid_out = true;
      while (now() < until && step(kInAStop)) {
      }
    });
    if (!laid_out) lay_out();
  }

  void finish() {
    std::vector<Piece> some;
    pointed.assign(blocks.all().size(), false);
    const auto every_unknown = [&](const auto& visit) {
      for (uint32_t i = 0; i < blocks.all().size(); ++i)
        if (blocks.all()[i].state == poireau_scan_unknown) visit(i);
    };
    every_unknown([&](uint32_t block) { add_block(block, some); });
    read(some, Mode::point);
    every_unknown([&](uint32_t block) {
      if (!pointed[block]) frontier.push_back(block);
    });
    for (const uint32_t block : frontier) blocks.all()[block].state = poireau_scan_lost;
    flood();
    // What is left are circles: the oldest of one stands for it.
    std::vector<uint32_t> left;
    every_unknown([&](uint32_t block) { left.push_back(block); });
    std::ranges::sort(left, {}, [this](uint32_t block) { return blocks.all()[block].time; });
    for (const uint32_t block : left) {
      if (blocks.all()[block].state != poireau_scan_unknown) continue;
      blocks.all()[block].state = poireau_scan_lost;
      frontier.push_back(block);
      flood();
    }
  }

  void flood() {
    while (!frontier.empty()) {
      std::vector<Piece> some;
      for (const uint32_t block : frontier) add_block(block, some);
      frontier.clear();
      read(some, Mode::flood);
    }
  }

  std::unique_ptr<Memory> memory;
  int pid;
  Blocks blocks;
  std::vector<uint8_t> held;  // hits of each block
  std::vector<bool> pointed;  // by another one that is unknown
  std::vector<Range> ranges, homes;
  std::vector<Piece> pieces, home_pieces;
  size_t next_piece = 0;
  std::vector<uint32_t> frontier;  // reached, and not yet looked into
  std::vector<PoireauScanHit> hits;
  std::vector<PoireauScanThread> threads;
  Worker workers[kWorkers];
  uint64_t bytes = 0, stopped = 0;
};

namespace {

template <typename Body>
int32_t guarded(const Body& body) {
  try {
    return body();
  } catch (const std::exception&) {
    return -2;
  }
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

PoireauScan* poireau_scan_process(int32_t pid, int32_t plain) {
  return new PoireauScan(open_process(pid, plain != 0), pid);
}

PoireauScan* poireau_scan_core(const char* path, const PoireauScanSegment* segments, size_t count) {
  return new PoireauScan(open_core(path, {segments, segments + count}), 0);
}

int32_t poireau_scan_error(const PoireauScan* scan) { return scan->memory->error(); }

void poireau_scan_free(PoireauScan* scan) { delete scan; }

size_t poireau_scan_read(PoireauScan* scan, uint64_t at, void* to, size_t size) {
  size_t done = 0;
  guarded([&] {
    while (done < size) {
      const uint64_t from = at + done, upto = std::min(at + size, (from / kPage + 1) * kPage);
      const size_t before = done;
      const Piece piece{from, upto - from, kNoBlock};
      scan->memory->read({&piece, 1}, [&](const Piece&, const char* data, size_t got) {
        std::copy_n(data, got, static_cast<char*>(to) + done);
        done += got;
      });
      if (done == before) break;
    }
    return 0;
  });
  return done;
}

int32_t poireau_scan_blocks(PoireauScan* scan, const PoireauScanRange* homes, size_t count) {
  return guarded([&] {
    scan->homes.assign(homes, homes + count);
    scan->blocks.find(*scan->memory, scan->homes);
    scan->held.assign(scan->blocks.all().size(), 0);
    return scan->blocks.strange() ? 1 : 0;
  });
}

int32_t poireau_scan_know(PoireauScan* scan, const PoireauScanThread* threads, size_t count) {
  return guarded([&] {
    scan->threads.assign(threads, threads + count);
    return 0;
  });
}

int32_t poireau_scan_begin(PoireauScan* scan, const PoireauScanRange* ranges, size_t count, uint64_t budget) {
  return guarded([&] {
    scan->ranges.assign(ranges, ranges + count);
    scan->begin(budget);
    return scan->memory->gone() ? -1 : 0;
  });
}

void poireau_scan_bytes(PoireauScan* scan, const void* bytes, size_t size, uint32_t from, uint32_t who, uint32_t set) {
  guarded([&] {
    scan->look(scan->workers[0], Mode::mark, static_cast<const char*>(bytes), std::min(size, kMostPiece),
               {.at = 0, .inside = 0, .block = 0, .from = from, .who = who, .set = set});
    scan->gather();
    return 0;
  });
}

int32_t poireau_scan_step(PoireauScan* scan, uint64_t bytes) {
  return guarded([&] {
    const bool more = scan->step(bytes);
    return scan->memory->gone() ? -1 : more ? 1 : 0;
  });
}

int32_t poireau_scan_finish(PoireauScan* scan) {
  return guarded([&] {
    scan->finish();
    return scan->memory->gone() ? -1 : 0;
  });
}

void poireau_scan_columns(const PoireauScan* scan, PoireauScanColumns* columns) {
  *columns = {
      .blocks = scan->blocks.all().size(),
      .block = scan->blocks.all().data(),
      .hits = scan->hits.size(),
      .hit = scan->hits.data(),
      .threads = scan->threads.size(),
      .thread = scan->threads.data(),
      .read = scan->bytes,
      .swapped = scan->memory->swapped(),
      .too_wide = scan->memory->too_wide(),
      .stopped = scan->stopped,
  };
}

size_t poireau_scan_words(const char* bytes, size_t size, uint32_t* out, int32_t plain) {
  return plain != 0 ? find_words_anywhere(bytes, size, out) : find_words(bytes, size, out);
}

size_t poireau_scan_demangle(const char* symbol, char* to, size_t size) {
  int status = 0;
  char* const text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  const size_t length = text == nullptr ? 0 : strlen(text) + 1;
  if (length <= size) std::copy_n(text, length, to);
  free(text);
  return length <= size ? length : 0;
}
}
#pragma GCC visibility pop
