#include "tracked_alloc/records.h"

#include <algorithm>
#include <bit>
#include <cstddef>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "tracked_alloc/ring.h"

namespace poireau::tracked_alloc::records {
namespace {

using region::Id;
using region::record_of;

constexpr uint32_t kArea = region::area_of(0, false);
constexpr size_t kRemembered = 1 << 16;
[[gnu::section(".lbss")]] constinit Ring::Cell cells[kRemembered]{};
constinit std::atomic<uint64_t> opened{0};
constinit Ring ended{cells, kRemembered};

}  // namespace

bool open(const Wanted& wanted, Id& out) noexcept {
  if (!region::take_slot(kArea, scramble(opened.fetch_add(1, std::memory_order_relaxed)), pages::kNone, out))
    return false;
  Record& record = record_of(out);
  record.address = 0;  // first: who has an old note sees by it that this is another's now
  std::atomic_signal_fence(std::memory_order_release);
  record.kind = wanted.kind;
  record.alignment_log2 = static_cast<uint8_t>(std::countr_zero(std::max(wanted.alignment, alignof(max_align_t))));
  record.guarded = false;
  record.poisoned = false;
  record.damaged = false;
  record.size = wanted.size;
  record.room = std::max(wanted.size, wanted.room);
  record.pages = 0;
  record.guard_chance = 0;
  record.birth = wanted.birth;
  record.death = {};
  record.uses++;
  record.keepsake = 0;
  return true;
}

Home settle(Id id, void* block) noexcept {
  Record& record = record_of(id);
  if (block == nullptr) {
    region::give_back(id, false);
    return {nullptr, Drop::memory};
  }
  record.home = record.address = reinterpret_cast<uintptr_t>(block);
  const uint32_t note = record.note.exchange(0, std::memory_order_relaxed);
  count_birth(record);
  region::become(record, State::busy, State::live);
  return {block, Drop::none, id, note};
}

bool find(Id id, uintptr_t address, Block& out) noexcept {
  if (!region::exists(id)) return false;
  const Record& record = record_of(id);
  const uint32_t before = record.state_and_turn.load(std::memory_order_acquire);
  out = describe(record);
  std::atomic_signal_fence(std::memory_order_acquire);  // the processor keeps loads in order
  const uint32_t turns = record.state_and_turn.load(std::memory_order_relaxed) ^ before;
  return out.address == address && record.address == address && lies_elsewhere(record) && turns >> 8 == 0;
}

bool claim(Id id, uintptr_t address, Claim& out) noexcept {
  if (!region::exists(id)) return false;
  Record& record = record_of(id);
  for (int patience = 1 << 20; record.state() == State::watched && patience > 0; --patience) cpu::pause();
  if (record.address != address || !region::become(record, State::live, State::busy)) return false;
  out = {Claim::Found::block, id, describe(record)};
  return true;
}

void finish(const Claim& claim, const Death& death) noexcept {
  Record& record = record_of(claim.id);
  record.death = death;
  count_death(record);
  region::become(record, State::busy, State::freed);
  const uint64_t oldest = ended.push(claim.id.packed());
  if (oldest == 0) return;
  const Id last = Id::unpack(oldest);
  if (region::become(record_of(last), State::freed, State::busy)) region::give_back(last, false);
}

}  // namespace poireau::tracked_alloc::records
