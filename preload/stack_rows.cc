#include "preload/stack_rows.h"

#include <atomic>

#include "preload/base/context_x86_64.h"
#include "preload/stack_description.h"
#include "preload/stack_row.h"

// A stack is walked by a table of rows, which all threads fill as they meet code. Nothing is read outside of pages that
// are known to be readable, whatever a damaged stack holds. Where a row does not do, libgcc has to.

namespace poireau::stack {
namespace {
// What is read is other functions' as they left it; and who finds his own frame must not have it rearranged.
#define READS_STACKS gnu::no_sanitize("address", "thread")

constexpr unsigned kAddressBits = 47, kIndexBits = 12, kTagBits = kAddressBits - kIndexBits;
constexpr unsigned kGenerationBits = 64 - kTagBits - Row::kBits;
constexpr uint64_t kGenerations = uint64_t{1} << kGenerationBits;

/// A word is a row and, above it, whose it is: the generation it belongs to, and what of the scrambled address does not
/// make the index. Index and rest give the address back, so that no row is taken for another's, and a word is never
/// half written.
struct alignas(16) Bucket {
  std::atomic<uint64_t> newer, older;
};
[[gnu::section(".lbss")]] constinit Bucket table[1 << kIndexBits];
static_assert(sizeof table <= 64 << 10);

/// How often code has gone, from 1 on; never a multiple of kGenerations, the generation of a word that was never set.
constinit std::atomic<uint64_t> epoch{1};

uint64_t now() noexcept { return epoch.load(std::memory_order_acquire); }
constexpr uint64_t generation_bits(uint64_t of) noexcept { return of % kGenerations << Row::kBits; }

/// Where a return address has its row, and what there is above it.
struct Place {
  Bucket& bucket;
  uint64_t owner;

  [[gnu::always_inline, READS_STACKS]] Place(uintptr_t key, uint64_t generation) noexcept
      : Place(generation, scrambled(key)) {}

 private:
  struct Scrambled {
    uint64_t bits;  // the uppermost of 64; one to one
  };
  [[gnu::always_inline, READS_STACKS]] static constexpr Scrambled scrambled(uintptr_t key) noexcept {
    return {key * (uint64_t{0x9e3779b97f4a7c15} << (64 - kAddressBits))};
  }
  [[gnu::always_inline, READS_STACKS]] Place(uint64_t generation, Scrambled address) noexcept
      : bucket(table[address.bits >> (64 - kIndexBits)]), owner(address.bits << kIndexBits | generation) {}
};

[[gnu::cold, gnu::noinline]] Row fill(uintptr_t key, uint64_t since) noexcept {
  const Row row = row_at(key - 1);
  if (row.kind() == Row::stray) return row;
  const Place place(key, generation_bits(since));
  const uint64_t word = place.owner | row.bits;
  const uint64_t before = place.bucket.newer.load(std::memory_order_relaxed);
  place.bucket.older.store(before, std::memory_order_relaxed);
  place.bucket.newer.store(word, std::memory_order_seq_cst);
  // Code may have gone meanwhile, and generations come again.
  if (epoch.load(std::memory_order_seq_cst) != since) {
    uint64_t mine = word;
    place.bucket.newer.compare_exchange_strong(mine, 0, std::memory_order_relaxed);
    mine = before;
    place.bucket.older.compare_exchange_strong(mine, 0, std::memory_order_relaxed);
  }
  return row;
}

/// The row for a return address.
Row row_for(uintptr_t key, uint64_t since) noexcept {
  const Place place(key, generation_bits(since));
  for (const auto* const word : {&place.bucket.newer, &place.bucket.older})
    if (const uint64_t bits = word->load(std::memory_order_relaxed) - place.owner; bits < uint64_t{1} << Row::kBits)
      return {static_cast<uint32_t>(bits)};
  return fill(key, since);
}

void forget() noexcept {
  uint64_t before = epoch.load(std::memory_order_relaxed), after;
  do {
    after = before + 1;
    if (after % kGenerations == 0) {
      for (Bucket& bucket : table)
        for (auto* word : {&bucket.newer, &bucket.older})
          if (word->load(std::memory_order_relaxed) != 0) word->store(0, std::memory_order_relaxed);
      ++after;
    }
  } while (!epoch.compare_exchange_weak(before, after, std::memory_order_seq_cst));
}

[[READS_STACKS]] inline uintptr_t word_at(uintptr_t at) noexcept { return *reinterpret_cast<const uintptr_t*>(at); }

bool may_go_on_at(uintptr_t sp, uintptr_t above, StackPages& pages) noexcept {
  return sp > above && sp % sizeof(uintptr_t) == 0 && reach(pages, sp);
}

/// A walk on its way.
struct Way {
  Frame frame;
  StackPages pages;
  bool interrupted;  // by a signal: it does not go on behind a call
};
enum class Step { taken, last, impossible };

[[READS_STACKS]] Step step_plainly(Row row, Way& way) noexcept {
  auto& [frame, pages, interrupted] = way;
  const uintptr_t sp = (row.kind() == Row::rbp ? frame.bp : frame.sp) + row.offset(), saved = sp - row.saved();
  if (!may_go_on_at(sp, frame.sp, pages) || saved < pages.begin) return Step::impossible;
  frame = {word_at(sp - sizeof(uintptr_t)), sp, row.saved() == Row::kUnchanged ? frame.bp : word_at(saved)};
  return Step::taken;
}

[[READS_STACKS]] Step step_out_of_realigned(Row row, Way& way) noexcept {
  auto& [frame, pages, interrupted] = way;
  const uintptr_t at = frame.bp - row.offset();
  if (at < frame.sp || frame.bp < at || frame.bp % sizeof(uintptr_t) != 0 || frame.bp >> kAddressBits != 0 ||
      !reach(pages, frame.bp + sizeof(uintptr_t)))
    return Step::impossible;
  const uintptr_t sp = word_at(at);
  if (!may_go_on_at(sp, frame.bp, pages)) return Step::impossible;
  frame = {word_at(sp - sizeof(uintptr_t)), sp, word_at(frame.bp)};
  return Step::taken;
}

[[READS_STACKS]] Step step_out_of_handler(Way& way) noexcept {
  auto& [frame, pages, interrupted] = way;
  if (frame.sp >> kAddressBits != 0 || !reach(pages, frame.sp + SignalFrame::kSize)) return Step::impossible;
  const Frame outer{word_at(frame.sp + SignalFrame::kRip), word_at(frame.sp + SignalFrame::kRsp),
                    word_at(frame.sp + SignalFrame::kRbp)};
  // The handler may have had a stack of its own.
  if (!pages.hold(outer.sp) || outer.sp <= frame.sp) pages = stack_pages_at(outer.sp);
  if (!pages.hold(outer.sp) || outer.sp % sizeof(uintptr_t) != 0) return Step::impossible;
  frame = outer;
  interrupted = true;
  return Step::taken;
}

/// Whatever it takes.
[[gnu::cold, gnu::noinline]] Step step(Way& way, uint64_t since) noexcept {
  const uintptr_t key = way.frame.pc + (way.interrupted ? 1 : 0);
  if (key >> kAddressBits != 0) return Step::impossible;
  const Row row = row_for(key, since);
  way.interrupted = false;
  switch (row.kind()) {
    case Row::rsp:
    case Row::rbp:
      return step_plainly(row, way);
    case Row::realigned:
      return step_out_of_realigned(row, way);
    case Row::signal:
      return step_out_of_handler(way);
    case Row::end:
    case Row::stray:
      return Step::last;
    case Row::beyond:
      break;
  }
  return Step::impossible;
}

/// The frames from `way` on, or rather from the one that goes on at `first` on; 0: rows don't do. Nearly all steps are
/// plain, by a row that is where it is looked for first, between pages that are known. They are taken here, in
/// registers; `walk` is another function because its frame pointer would be one less.
[[gnu::noinline, READS_STACKS]] size_t walk_on(Way way, std::span<uintptr_t> out, uintptr_t first) noexcept {
  const uint64_t since = now(), generation = generation_bits(since);
  const Code ours = our_code;
  uintptr_t pc = way.frame.pc, sp = way.frame.sp, bp = way.frame.bp;
  uintptr_t begin = way.pages.begin, end = way.pages.end;
  uintptr_t *next = out.data(), *const room = next + out.size();
  bool interrupted = way.interrupted, met = false;
  if (end == 0) return 0;
  for (size_t steps = kMostFrames + kMostOfOurs; steps != 0 && pc != 0; --steps) {
    met = met || pc == first;
    if (met && !ours.holds(pc)) {
      if (next == room) return out.size() + 1;
      *next++ = pc;
    }
    const Place place(pc, generation);
    // Little more than the owner: the word is his, and of a plain kind.
    constexpr uint64_t kPlain = Row::make(Row::realigned, 0, 0).bits;
    uint64_t bits = place.bucket.newer.load(std::memory_order_relaxed) - place.owner;
    if (bits >= kPlain) bits = place.bucket.older.load(std::memory_order_relaxed) - place.owner;
    if (bits < kPlain && pc >> kAddressBits == 0 && !interrupted) [[likely]] {
      const Row row{static_cast<uint32_t>(bits)};
      const uintptr_t outer = (row.kind() == Row::rbp ? bp : sp) + row.offset(), saved = outer - row.saved();
      if (outer - 1 - sp < end - sp && outer % sizeof(uintptr_t) == 0 && saved >= begin) [[likely]] {
        const uintptr_t outer_bp = word_at(saved);  // of no use where it is unchanged, but free of a branch
        bp = row.saved() == Row::kUnchanged ? bp : outer_bp;
        pc = word_at(outer - sizeof(uintptr_t));
        sp = outer;
        continue;
      }
    }
    way = {{pc, sp, bp}, {begin, end}, interrupted};
    const Step taken = step(way, since);
    if (taken == Step::impossible) return 0;
    if (taken == Step::last) break;
    pc = way.frame.pc, sp = way.frame.sp, bp = way.frame.bp;
    begin = way.pages.begin, end = way.pages.end;
    interrupted = way.interrupted;
  }
  return static_cast<size_t>(next - out.data());
}

[[gnu::noinline, READS_STACKS]] size_t walk(std::span<uintptr_t> out, const void* caller) noexcept {
  const Frame frame = frame_of_caller();
  return walk_on({frame, stack_pages(frame.sp), false}, out, reinterpret_cast<uintptr_t>(caller));
}

/// Static executables at fixed addresses don't say where their tables are.
bool begin() noexcept {
  Description own;
  return describe(reinterpret_cast<uintptr_t>(&begin), own) == Described::yes;
}

size_t walk_from(std::span<uintptr_t> out, const void* context) noexcept {
  const Frame frame{context::instruction(context), context::stack_pointer(context), context::frame_pointer(context)};
  if (frame.sp % sizeof(uintptr_t) != 0) return 0;
  Way way{frame, stack_pages_at(frame.sp), true};
  if (way.pages.end == 0) return 0;
  const Step taken = step(way, now());
  if (taken == Step::impossible) return 0;
  out[0] = frame.pc;  // even if it is ours
  if (taken == Step::last || way.frame.pc == 0) return 1;
  const size_t others = walk_on(way, out.subspan(1), way.frame.pc);
  return others == 0 ? 0 : others + 1;
}

}  // namespace

bool step_out_to(uintptr_t to, Frame& frame, const StackPages& pages) noexcept {
  Way way{frame, pages, false};
  const uint64_t since = now();
  for (size_t steps = kMostOfOurs; way.frame.pc != to; --steps)
    if (steps == 0 || step(way, since) != Step::taken) return false;
  frame = way.frame;
  return true;
}

constinit const Unwinder kRows{"rows", begin, walk, walk_from, forget};

}  // namespace poireau::stack
