#include "tracked_alloc/verdict.h"

#include <algorithm>
#include <atomic>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "tracked_alloc/headroom.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/keepsakes.h"
#include "tracked_alloc/region.h"

namespace poireau::tracked_alloc {
namespace {

using region::kPage;

/// Pages that were let through, as far as there is room; kAtWork in those that are not yet as they should be.
constexpr uintptr_t kAtWork = 1;
constexpr size_t kMostOpened = 1 << 14;
[[gnu::section(".lbss")]] constinit std::atomic<uintptr_t> opened[kMostOpened]{};

uintptr_t page_of(uintptr_t address) noexcept { return address & -kPage; }

/// The page's entry, or the empty one where it would go; nullptr: neither is near.
std::atomic<uintptr_t>* entry_of(uintptr_t page) noexcept {
  const size_t start = scramble(page) % kMostOpened;
  for (size_t step = 0; step < 64; ++step) {
    std::atomic<uintptr_t>& entry = opened[(start + step) % kMostOpened];
    const uintptr_t there = entry.load(std::memory_order_acquire);
    if ((there & ~kAtWork) == page || there == 0) return &entry;
  }
  return nullptr;
}

bool is_opened(uintptr_t page) noexcept {
  const std::atomic<uintptr_t>* entry = entry_of(page);
  return entry != nullptr && entry->load(std::memory_order_acquire) == page;
}

bool in_use(const Record& record) noexcept {
  const State state = record.state();
  return state != State::absent && state != State::part && record.home != 0;
}

/// How far the address is from the block; 0 within.
size_t distance(uintptr_t block, size_t room, uintptr_t address) noexcept {
  if (address < block) return block - address;
  const uintptr_t end = block + std::max<size_t>(room, 1);
  return address < end ? 0 : address - end + 1;
}
size_t distance(const Record& record, uintptr_t address) noexcept {
  return distance(record.address, record.room, address);
}

/// The homes around: that of the address, and where it is a guard's, the one behind it.
struct Around {
  region::Place own, next;
};
Around look_around(uintptr_t address) noexcept {
  Around around{region::find(address), {}};
  if (!around.own.ours || around.own.id.area == region::kGibArea) return around;
  const uintptr_t slot = region::begin_of(around.own.id);
  const uintptr_t end = slot + region::slot_pages(around.own.id.area) * kPage;
  if (address >= end) around.next = region::next_to(around.own.id, 1);
  if (address < slot) around.next = region::next_to(around.own.id, -1);
  return around;
}

/// Writes to `to`, which stands for `page`, what a freed block held there, as far as it is known.
bool put_content_back(const Record& record, uintptr_t page, uintptr_t to) noexcept {
  if (!in_use(record) || record.live()) return false;
  const uintptr_t from = std::max(page, record.address);
  const uintptr_t end = std::min(page + kPage, record.address + record.room);
  return from < end && keepsakes::restore(record.keepsake, from - record.address,
                                          reinterpret_cast<void*>(to + (from - page)), end - from) != 0;
}

/// Makes a closed page accessible, with the content that it had: at once if possible, or another thread may read
/// zeros in between.
bool open_with_content(region::Id id, uintptr_t page) noexcept {
  const Record& record = region::record_of(id);
  void* const filled = pages::sealed() == pages::Seal::none ? sys::map(kPage) : nullptr;
  if (filled != nullptr) {
    if (put_content_back(record, page, reinterpret_cast<uintptr_t>(filled)) &&
        pages::replace(reinterpret_cast<void*>(page), filled))
      return true;
    sys::unmap(filled, kPage);
  }
  if (!open_for_good(id, page)) return false;
  put_content_back(record, page, page);
  return true;
}

Verdict judge_remapped(uintptr_t address) noexcept {
  using remap::Answer;
  const uintptr_t page = page_of(address);
  const Answer own = remap::find(address);
  if (own.found == Answer::Found::live || (own.found == Answer::Found::dead && own.block.open))
    return {Finding::open, describe(own.block), own.offset};
  // The nearest block is meant; of two, the live one.
  Answer nearest{};
  size_t least = SIZE_MAX;
  for (const Answer& answer : {own, remap::find(page - 1), remap::find(page + kPage)}) {
    if (answer.found == Answer::Found::nowhere) continue;
    const size_t far = distance(answer.block.address, answer.block.room, address);
    if (far > least || (far == least && !answer.block.live)) continue;
    least = far;
    nearest = answer;
  }
  if (nearest.found == Answer::Found::nowhere) return {};
  Verdict verdict{Finding::use_after_free, describe(nearest.block)};
  verdict.offset = static_cast<ptrdiff_t>(address - nearest.block.address);
  if (nearest.block.live) verdict.finding = verdict.offset < 0 ? Finding::underflow : Finding::overflow;
  return verdict;
}

/// A page that no block was ever in has nothing to show.
bool open_remapped(uintptr_t address) noexcept {
  if (remap::open_for_good(address)) return true;
  return remap::find(address).found == remap::Answer::Found::nowhere && pages::sealed() == pages::Seal::none &&
         pages::map_plain(reinterpret_cast<void*>(page_of(address)), kPage, true);
}

}  // namespace

Block describe(const remap::Block& block) noexcept {
  Block out{};
  out.address = block.address;
  out.size = block.size;
  out.room = block.room;
  out.live = block.live;
  out.born = block.born;
  out.died = block.died;
  return out;
}

bool reopen(uintptr_t address) noexcept { return remap::owns(address) && remap::open_again(address); }

Verdict judge_access(uintptr_t address) noexcept {
  if (remap::owns(address)) return judge_remapped(address);
  const Around around = look_around(address);
  if (!around.own.ours) return {};
  const bool guards_here = around.own.id.area == region::kGibArea || around.own.id.area % 2 != 0;
  if (!guards_here) return {};
  if (is_opened(page_of(address))) return {Finding::open};
  const Record* nearest = nullptr;
  for (const region::Place& place : {around.own, around.next}) {
    if (!place.ours) continue;
    const Record& record = region::record_of(place.id);
    if (!in_use(record)) continue;
    if (nearest == nullptr || distance(record, address) < distance(*nearest, address) ||
        (distance(record, address) == distance(*nearest, address) && record.live()))
      nearest = &record;
  }
  if (nearest == nullptr) return {Finding::wild};
  Verdict verdict{Finding::use_after_free, describe(*nearest)};
  verdict.offset = static_cast<ptrdiff_t>(address - verdict.block.address);
  if (!nearest->live()) {
    verdict.block.live = false;
    return verdict;
  }
  if (address >= nearest->home && address < nearest->home + nearest->pages * kPage)
    verdict.finding = Finding::open;
  else
    verdict.finding = verdict.offset < 0 ? Finding::underflow : Finding::overflow;
  return verdict;
}

bool let_through(uintptr_t address) noexcept {
  if (remap::owns(address)) return open_remapped(address);
  const uintptr_t page = page_of(address);
  const Around around = look_around(address);
  if (!around.own.ours) return false;
  met_error();
  for (const region::Place& place : {around.own, around.next})
    if (place.ours) region::record_of(place.id).exposed.store(true);
  std::atomic<uintptr_t>* const entry = entry_of(page);
  if (entry == nullptr) return open_with_content(around.own.id, page);  // and nobody will know
  if (uintptr_t there = 0; !entry->compare_exchange_strong(there, page | kAtWork)) {
    for (int patience = 1 << 20; there == (page | kAtWork) && patience > 0; --patience) {
      cpu::pause();
      there = entry->load(std::memory_order_acquire);
    }
    return false;
  }
  if (!open_with_content(around.own.id, page)) {
    entry->store(0);
    return false;
  }
  entry->store(page, std::memory_order_release);
  return true;
}

}  // namespace poireau::tracked_alloc
