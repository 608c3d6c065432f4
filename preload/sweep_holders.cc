#include "preload/sweep_holders.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/sweep_memory.h"
#include "preload/thread.h"
#include "tracked_alloc/remap.h"

namespace poireau::sweep {
namespace {

namespace remap = tracked_alloc::remap;

constexpr size_t kStep = 4;  // packed structures have pointers at such places
constexpr size_t kStack = 6 << 10;

[[gnu::section(".lbss")]] constinit Holder holders[kMostHolders]{};
[[gnu::section(".lbss")]] constinit Group groups[kMostHolders]{};
[[gnu::section(".lbss")]] constinit remap::Batch batch{};
constinit size_t holder_count = 0;
constinit uint64_t left_out = 0, bytes_seen = 0;
constinit std::atomic<bool> at_it{false};

void note(uintptr_t at, uint64_t word) noexcept {
  const remap::Answer answer = remap::find(word);
  if (answer.found != remap::Answer::Found::dead) return;
  if (answer.offset < 0 || answer.offset > static_cast<ptrdiff_t>(answer.block.size)) return;
  if (holder_count == kMostHolders)
    ++left_out;
  else
    holders[holder_count++] = {answer.block.address, at, word};
}

void look_for_words(void*, const Area& area, uintptr_t at, std::span<const std::byte> bytes) noexcept {
  bytes_seen += bytes.size();
  for (size_t i = 0; i + sizeof(uint64_t) <= bytes.size(); i += kStep) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, sizeof word);
    if (remap::owns(word)) [[unlikely]]
      note(area.kind == Area::Kind::kernel ? 0 : at + i, word);
  }
}

void look_into_blocks() noexcept {
  for (size_t n = 0; remap::live_in_run(n, batch); ++n)
    for (const remap::Block& block : std::span(batch.blocks, batch.count))
      look_for_words(nullptr, {Area::Kind::block}, block.address,
                     {reinterpret_cast<const std::byte*>(block.address), block.size});
}

[[gnu::noinline]] Outcome look() noexcept {
  const stop::Others others;
  if (!others) return without_others(others.why());
  __builtin_unwind_init();
  if (!show_memory(look_for_words, nullptr)) return Outcome::forbidden;
  look_into_blocks();
  return Outcome::done;
}

/// Returns how many blocks they are of.
size_t group() noexcept {
  std::sort(holders, holders + holder_count,
            [](const Holder& a, const Holder& b) { return a.block != b.block ? a.block < b.block : a.at < b.at; });
  size_t count = 0;
  for (uint32_t i = 0; i < holder_count; ++i) {
    if (i == 0 || holders[i].block != holders[i - 1].block) groups[count++] = {i, 0};
    ++groups[count - 1].count;
  }
  std::sort(groups, groups + count,
            [](const Group& a, const Group& b) { return a.count != b.count ? a.count > b.count : a.first < b.first; });
  return count;
}

}  // namespace

Held find_holders() noexcept {
  if (!remap::begun()) return {.outcome = Outcome::nothing};
  if (sandbox::state() != sandbox::State::open) return {.outcome = Outcome::forbidden};
  if (!room_on_stack(kStack) || at_it.exchange(true, std::memory_order_acquire)) return {};
  holder_count = 0;
  left_out = bytes_seen = 0;
  const Outcome outcome = look();
  const size_t blocks = group();
  at_it.store(false, std::memory_order_release);
  return {outcome, {holders, holder_count}, {groups, blocks}, left_out, bytes_seen};
}

}  // namespace poireau::sweep
