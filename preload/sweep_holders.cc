#include "preload/sweep_holders.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "preload/base/sys.h"
#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/sweep_memory.h"
#include "preload/thread.h"
#include "tracked_alloc/marks.h"

namespace poireau::sweep {
namespace {

using tracked_alloc::remap::Block;
namespace remap = tracked_alloc::remap;

constexpr uintptr_t kPage = 4096;
constexpr size_t kStep = 4, kStack = 6 << 10;

[[gnu::section(".lbss")]] constinit Block blocks[kMostBlocks]{};
[[gnu::section(".lbss")]] constinit Holder holders[kMostHolders]{};
[[gnu::section(".lbss")]] constinit remap::Batch batch{};
constinit size_t block_count = 0, holder_count = 0;
constinit uint64_t left_out = 0;
constinit std::atomic<bool> at_it{false};

struct Stack {
  uintptr_t pointer;
  int thread;
};
constinit Stack own{};

/// Its pages: whoever points there holds it.
uintptr_t begin_of(const Block& block) noexcept { return block.address & ~(kPage - 1); }
uintptr_t end_of(const Block& block) noexcept {
  return (block.address + std::max<size_t>(block.size, 1) + kPage - 1) & ~(kPage - 1);
}

const Block* held_by(uint64_t word) noexcept {
  const Block* const after =
      std::upper_bound(blocks, blocks + block_count, word, [](uint64_t w, const Block& b) { return w < begin_of(b); });
  return after != blocks && word < end_of(after[-1]) ? after - 1 : nullptr;
}

int thread_at(const Area& area, uintptr_t at) noexcept {
  constexpr uintptr_t kBelow = 256;  // what a function may use below its stack pointer
  const bool is_own = own.pointer >= area.begin && own.pointer < area.end && own.pointer - kBelow <= at;
  if (const int other = stop::thread_with(at, is_own ? own.pointer : area.begin, area.end); other != 0) return other;
  return is_own ? own.thread : 0;
}

Holder::Where where_is(const Area& area, int thread) noexcept {
  using enum Holder::Where;
  if (area.kind != Area::Kind::memory) return area.kind == Area::Kind::block ? home : kernel;
  if (thread != 0 || area.name.starts_with("[stack")) return stack;
  return area.file ? data : heap;
}

void note(const Area& area, uintptr_t at, uint64_t word, const Block& block) noexcept {
  const auto number = static_cast<uint32_t>(&block - blocks);
  const auto known = std::count_if(holders, holders + holder_count, [&](const Holder& h) { return h.block == number; });
  if (holder_count == kMostHolders || known >= static_cast<ptrdiff_t>(kMostOfBlock)) {
    ++left_out;
    return;
  }
  const int thread = area.kind == Area::Kind::memory ? thread_at(area, at) : 0;
  Holder& holder = holders[holder_count++];
  holder = {where_is(area, thread), number, at, word, area.begin, thread, {}};
  const size_t size = std::min(area.name.size(), sizeof holder.name - 1);
  std::memcpy(holder.name, area.name.data() + area.name.size() - size, size);
}

void look_for_words(void*, const Area& area, uintptr_t at, std::span<const std::byte> bytes) noexcept {
  const uintptr_t lowest = begin_of(blocks[0]), size = end_of(blocks[block_count - 1]) - lowest;
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes.size(); i += kStep) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    if (word - lowest >= size) [[likely]]
      continue;
    if (const Block* const block = held_by(word)) note(area, at + i, word, *block);
  }
}

void look_into_blocks() noexcept {
  for (size_t n = 0; remap::live_in_run(n, batch); ++n)
    for (const Block& block : std::span(batch.blocks, batch.count)) {
      const Area area{Area::Kind::block, block.address, block.address + block.size};
      look_for_words(nullptr, area, area.begin, {reinterpret_cast<const std::byte*>(block.address), block.size});
    }
}

[[gnu::noinline]] Outcome look() noexcept {
  const stop::Others others;
  if (!others) return without_others(others.why());
  __builtin_unwind_init();
  own = {reinterpret_cast<uintptr_t>(__builtin_frame_address(0)), sys::thread_id()};
  if (!show_memory(look_for_words, nullptr)) return Outcome::forbidden;
  look_into_blocks();
  return Outcome::done;
}

}  // namespace

Held find_holders() noexcept {
  if (!remap::begun() || sandbox::state() != sandbox::State::open) return {Outcome::forbidden, {}, {}, 0};
  if (!room_on_stack(kStack) || at_it.exchange(true, std::memory_order_acquire)) return {Outcome::busy, {}, {}, 0};
  block_count = tracked_alloc::marks::kept(blocks);
  holder_count = 0;
  left_out = 0;
  std::sort(blocks, blocks + block_count, [](const Block& a, const Block& b) { return a.address < b.address; });
  const Outcome outcome = block_count == 0 ? Outcome::done : look();
  std::sort(holders, holders + holder_count,
            [](const Holder& a, const Holder& b) { return a.block != b.block ? a.block < b.block : a.at < b.at; });
  at_it.store(false, std::memory_order_release);
  return {outcome, {blocks, block_count}, {holders, holder_count}, left_out};
}

}  // namespace poireau::sweep
