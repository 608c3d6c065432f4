#include "tracked_alloc/homes.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>

#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "tracked_alloc/cache.h"
#include "tracked_alloc/headroom.h"
#include "tracked_alloc/keepsakes.h"
#include "tracked_alloc/pages_steps.h"
#include "tracked_alloc/placement.h"
#include "tracked_alloc/ration.h"

namespace poireau::tracked_alloc {
namespace {

using region::Id;
using region::kGib;
using region::kGibArea;
using region::kMarginPages;
using region::kPage;

constexpr size_t kMapped = 128 << 10;  // malloc asks the kernel for a block of so many bytes, and gives it back
constexpr size_t kReach = 256;  // around a plain block so many bytes are noise; around a guarded one all of its pages

constinit Settings settings{};
constinit const pages::Guards* guards = &pages::kNone;
constinit std::atomic<bool> ready{false}, guards_are_gone{false};
// A program full of errors is not to run out of mappings and memory: no more homes are guarded.
constinit std::atomic<bool> enough_met{false};
constinit std::atomic<uint32_t> errors_met{0};
constinit std::atomic<uint64_t> draws{0}, guarded_homes{0};

/// Blocks by class: all there ever were, those that are gone, and what the others weigh.
struct alignas(32) Living {  // in one cache line
  std::atomic<uint64_t> born, gone, bytes, periods;
};
[[gnu::section(".lbss")]] constinit Living living[kClasses]{};  // of which a process touches few

/// `times` is 1 or -1.
Living& weigh(const Record& record, uint64_t times) noexcept {
  Living& its = living[class_of(record.size, record.birth)];
  its.bytes.fetch_add(times * record.size, std::memory_order_relaxed);
  its.periods.fetch_add(times * period_in_bytes(record.size, record.birth), std::memory_order_relaxed);
  return its;
}

uint64_t random() noexcept { return scramble(settings.seed + scramble(draws.fetch_add(1, std::memory_order_relaxed))); }

bool sealed() noexcept { return pages::sealed() != pages::Seal::none; }

bool guards_work() noexcept {
  return guards->mechanism != pages::Mechanism::none && !sealed() && !guards_are_gone.load(std::memory_order_relaxed) &&
         !enough_met.load(std::memory_order_relaxed);
}

bool put_guards_up() noexcept {
  if (region::guard_again(*guards)) return true;
  if (!guards_are_gone.exchange(true) && settings.guards_gone != nullptr) settings.guards_gone();
  return false;
}

void* pointer(uintptr_t address) noexcept { return reinterpret_cast<void*>(address); }

struct Range {
  uintptr_t begin, end;
};
Range slack_before(const Record& record) noexcept {
  return {record.guarded ? record.home : std::max(record.home, record.address - kReach), record.address};
}
Range slack_behind(const Record& record) noexcept {
  const uintptr_t end = record.home + record.pages * kPage, block_end = record.address + record.room;
  return {block_end, record.guarded ? end : std::min(end, block_end + kReach)};  // none if the block is elsewhere
}
void surround_with_noise(const Record& record) noexcept {
  noise::fill(slack_before(record).begin, slack_before(record).end);
  noise::fill(slack_behind(record).begin, slack_behind(record).end);
}

/// Pages of a home that nobody has.
bool map_home(Id id, uintptr_t home, size_t size, bool guarded) noexcept {
  if (id.area != kGibArea) return !guarded || guards->open(pointer(home), size);
  if (!headroom::take(size)) return false;
  if (pages::map_plain(pointer(home), size, size < region::kChunk)) return true;
  headroom::give_back(size);
  return false;
}

bool unmap_gib(const Record& record) noexcept {
  if (!pages::unmap(pointer(record.home), record.pages * kPage)) return false;
  headroom::give_back(record.pages * kPage);
  return true;
}

/// Makes a home end behind the `size` bytes of its block. A GiB home grows and shrinks for it; a block that somebody
/// enlarges step by step would else be copied as often.
bool reach(Id id, Record& record, size_t size) noexcept {
  const uintptr_t end = record.home + record.pages * kPage;
  if (id.area != kGibArea) return size <= end - record.address;
  const size_t margin = record.guarded ? 0 : kMarginPages * kPage;
  const uintptr_t limit = region::end_of_gibs(id) - 2 * kPage;
  if (size > limit - record.address) return false;
  const uintptr_t wanted = ((record.address + std::max<size_t>(size, 1) + kPage - 1) & -kPage) + margin;
  if (wanted > end) {
    if (wanted > limit || !headroom::take(wanted - end)) return false;
    if (!pages::map_plain(pointer(end), wanted - end, record.pages * kPage < region::kChunk)) {
      headroom::give_back(wanted - end);
      return false;
    }
  } else if (wanted < end) {
    if (!pages::unmap(pointer(wanted), end - wanted)) return true;
    headroom::give_back(end - wanted);
  }
  record.pages = static_cast<uint32_t>((wanted - record.home) / kPage);
  return true;
}

/// Whether a freed block that was poisoned still is.
void look_for_writes_into(const Record& record) noexcept {
  if (settings.found_writes == nullptr || !record.poisoned) return;
  const noise::Damage damage = noise::look(record.address, record.address + record.room);
  if (damage.first != 0) settings.found_writes(describe(record), damage);
}

/// A plain home goes without its pages; busy before, idle after.
void let_go(Id id) noexcept {
  Record& record = region::record_of(id);
  look_for_writes_into(record);
  const bool gone = id.area == kGibArea
                        ? unmap_gib(record)
                        : pages::drop(pointer(region::begin_of(id)), region::slot_pages(id.area) * kPage);
  record.dirty = !gone;
  region::give_back(id, !gone && id.area == kGibArea);
}

struct Candidate {
  Id id{};
  Drop drop = Drop::none;
  bool fresh = true;  // its pages are zero
};

/// A busy home for it, with its `home` and `pages` set and the block placed; or none.
Candidate find_home(const placement::Wish& wish, size_t pages, bool in_gib) noexcept {
  const uint64_t toss = random();
  const unsigned size_class = in_gib ? region::kClasses : placement::class_for(wish, pages, region::kClasses);
  Candidate found;
  bool got = false;
  uintptr_t begin = 0;
  size_t room = 0;
  if (size_class < region::kClasses) {
    const unsigned area = region::area_of(size_class, wish.guarded);
    room = region::slot_pages(area) * kPage;
    got = !wish.guarded && cache::take_slot(size_class, found.id);
    found.fresh = !got;
    if (!got) got = region::take_slot(area, toss, *guards, found.id);
    while (!got && wish.guarded && quarantine::make_room(area)) got = region::take_slot(area, toss, *guards, found.id);
  } else {
    const size_t alignment = placement::home_alignment(wish);
    if (alignment > kGib / 2) return {{}, Drop::size};
    if (!wish.guarded && cache::take_gib(pages + 2 * kMarginPages, alignment, found.id)) {
      Record& record = region::record_of(found.id);
      look_for_writes_into(record);
      record.address =
          placement::place_in(wish, record.home + kMarginPages * kPage, record.pages - 2 * kMarginPages, toss);
      found.fresh = false;
      return found;
    }
    if (sealed()) return {{}, Drop::sealed};
    const size_t spare = pages * kPage > kGib / 4 ? kGib : 0;  // to grow into (reach)
    const size_t gibs = (pages * kPage + alignment + 4 * kPage + spare + kGib - 1) / kGib;
    got = region::take_gibs(gibs, toss, found.id);
    while (!got && quarantine::make_room(kGibArea)) got = region::take_gibs(gibs, toss, found.id);
    room = gibs * kGib - 4 * kPage;
  }
  if (!got) return {{}, headroom::limit() == SIZE_MAX ? Drop::memory : Drop::limit};
  begin = region::begin_of(found.id) + (found.id.area == kGibArea ? 2 * kPage : 0);
  Record& record = region::record_of(found.id);
  if (!found.fresh) look_for_writes_into(record);
  found.fresh = found.fresh && !record.dirty;
  // GiB homes float wherever they are; plain slots stay on the pages they have.
  const placement::Spot spot = placement::place({wish.size, wish.alignment, wish.guarded || found.id.area == kGibArea},
                                                pages, begin, room, scramble(toss));
  const bool margins = found.id.area == kGibArea && !wish.guarded;
  record.home = spot.home - (margins ? kMarginPages * kPage : 0);
  record.pages = static_cast<uint32_t>(pages + (margins ? 2 * kMarginPages : 0));
  record.address = wish.guarded ? spot.block : placement::place_in(wish, spot.home, pages, scramble(~toss));
  if (found.fresh || wish.guarded) {
    if (!map_home(found.id, record.home, record.pages * kPage, wish.guarded)) {
      region::give_back(found.id, false);
      return {{}, headroom::limit() == SIZE_MAX ? Drop::memory : Drop::limit};
    }
  }
  return found;
}

}  // namespace

constinit int64_t region_floor = kEverything;

void begin(const Settings& wanted) noexcept {
  settings = wanted;
  pages::set_environment(wanted.dump, wanted.open);
  headroom::learn(wanted.open);
  guards = &pages::choose(wanted.mechanism, wanted.open);
  noise::begin(wanted.seed);
  if (guards->mechanism != pages::Mechanism::none) keepsakes::begin(wanted.keep);
  ready.store(true, std::memory_order_release);
}

bool begun() noexcept { return ready.load(std::memory_order_acquire); }

Home allocate(const Wanted& wanted, const Policy& policy) noexcept {
  const size_t block_room = std::max(wanted.size, wanted.room);
  placement::Wish wish{block_room, std::max(wanted.alignment, alignof(max_align_t)), false};
  const size_t pages = placement::pages_for(wish);
  if (pages == 0 || !std::has_single_bit(wanted.alignment)) return {nullptr, Drop::size};
  if (pages::guards_lost()) mend_guards();

  bool in_gib = settings.placement == Placement::gib;
  const unsigned size_class = in_gib ? region::kClasses : placement::class_for(wish, pages, region::kClasses);
  const ration::Draw draw = ration::draw(policy.guard, size_class, pages, random(), wanted.birth.time,
                                         policy.ticks_per_second, policy.guard_share);
  wish.guarded = draw.guarded && guards_work() && (settings.before_guards == nullptr || settings.before_guards());
  in_gib = in_gib || (wish.guarded && block_room > guards->largest);

  Candidate found = find_home(wish, pages, in_gib);
  if (found.drop != Drop::none && wish.guarded) {
    wish.guarded = false;
    found = find_home(wish, pages, settings.placement == Placement::gib);
  }
  if (found.drop != Drop::none) return {nullptr, found.drop};

  Record& record = region::record_of(found.id);
  record.kind = wanted.kind;
  record.alignment_log2 = static_cast<uint8_t>(std::countr_zero(wish.alignment));
  record.guarded = wish.guarded;
  record.dirty = false;
  record.poisoned = false;
  record.damaged = false;
  record.size = wanted.size;
  record.room = block_room;
  record.guard_chance = draw.chance;
  record.birth = wanted.birth;
  record.death = {};
  record.uses++;
  const uint32_t note = record.note.exchange(0, std::memory_order_relaxed);
  record.keepsake = 0;
  if (wanted.zeroed && !found.fresh) std::memset(pointer(record.address), 0, record.room);
  surround_with_noise(record);
  count_birth(record);
  if (wish.guarded && is_sampled(wanted.birth)) guarded_homes.fetch_add(1, std::memory_order_relaxed);
  region::become(record, State::busy, State::live);
  return {pointer(record.address), Drop::none, found.id, note};
}

Claim claim(const void* ptr) noexcept {
  const uintptr_t address = reinterpret_cast<uintptr_t>(ptr);
  const region::Place place = region::find(address);
  if (!place.ours) return {};
  Claim got{Claim::Found::nowhere, place.id};
  Record& record = region::record_of(place.id);
  State state = record.state();
  for (int patience = 1 << 20; state == State::watched && patience > 0; --patience) {
    cpu::pause();
    state = record.state();
  }
  if (record.address == address && region::become(record, State::live, State::busy)) {
    got.found = Claim::Found::block;
    got.block = describe(record);
    if (got.block.address == address) return got;
    region::become(record, State::busy, State::live);  // another one by now
  }
  if (state == State::absent || state == State::part || record.home == 0) return got;
  got.block = describe(record);
  got.offset = static_cast<ptrdiff_t>(address - got.block.address);
  const bool within = got.offset >= 0 && static_cast<size_t>(got.offset) < std::max<size_t>(got.block.room, 1);
  got.found = Claim::Found::nowhere;
  if (state == State::watched && got.offset == 0)
    got.found = Claim::Found::watched;
  else if (state == State::busy && got.offset == 0)
    got.found = Claim::Found::busy;
  else if (state == State::live || state == State::watched)
    got.found = within ? Claim::Found::inside : Claim::Found::nowhere;
  else if (within)
    got.found = Claim::Found::freed;
  return got;
}

Slack inspect(const Claim& claim) noexcept {
  Record& record = region::record_of(claim.id);
  const Range before = slack_before(record), behind = slack_behind(record);
  const Slack slack{noise::look(before.begin, before.end), noise::look(behind.begin, behind.end), record.damaged};
  record.damaged = slack.before.first != 0 || slack.behind.first != 0;
  return slack;
}

void finish(const Claim& claim, const Death& death, const Policy& policy) noexcept {
  Record& record = region::record_of(claim.id);
  record.death = death;
  count_death(record);
  // What the program made of its pages' rights would have gone with them.
  if (record.room >= kMapped) static_cast<void>(pages::protect(pointer(record.home), record.pages * kPage, true));
  if (!record.guarded) {
    record.poisoned = policy.poison;
    if (policy.poison) noise::fill(record.address, record.address + record.room);
    region::become(record, State::busy, State::freed);
    const cache::Leaving leaving = cache::put(claim.id, policy.cache, death.time);
    for (unsigned i = 0; i < leaving.count; ++i) let_go(leaving.homes[i]);
    return;
  }
  if (is_sampled(record.birth)) guarded_homes.fetch_sub(1, std::memory_order_relaxed);
  record.keepsake = keepsakes::keep(record.address, record.room);
  const bool closed =
      claim.id.area == kGibArea ? unmap_gib(record) : guards->close(pointer(record.home), record.pages * kPage);
  if (!closed) {
    pages::drop(pointer(record.home), record.pages * kPage);
    region::give_back(claim.id, true);
    return;
  }
  region::become(record, State::busy, State::freed);
  quarantine::enter(claim.id, policy.quarantine, death.time);
}

void put_back(const Claim& claim) noexcept { region::become(region::record_of(claim.id), State::busy, State::live); }

bool resize(const Claim& claim, const Wanted& wanted) noexcept {
  Record& record = region::record_of(claim.id);
  const size_t before = record.room, now = std::max(wanted.size, wanted.room);
  const uintptr_t end_before = record.address + before;
  if (record.address % std::max<size_t>(wanted.alignment, 1) != 0) return false;
  const bool fits_slot = claim.id.area != kGibArea || now <= region::kMostSlotPages * kPage;
  if (now < before / 2 && before > kPage && fits_slot) return false;  // its pages are worth more elsewhere
  if (!reach(claim.id, record, now)) return false;
  if (wanted.zeroed && now > before) std::memset(pointer(record.address + before), 0, now - before);
  weigh(record, -1).born.fetch_sub(1, std::memory_order_relaxed);
  record.size = wanted.size;
  record.room = now;
  record.kind = wanted.kind;
  if (record.guarded && is_sampled(wanted.birth) != is_sampled(record.birth))
    guarded_homes.fetch_add(is_sampled(wanted.birth) ? 1 : UINT64_MAX, std::memory_order_relaxed);
  record.birth = wanted.birth;
  weigh(record, 1).born.fetch_add(1, std::memory_order_relaxed);
  const Range behind = slack_behind(record);
  const bool noisy = record.guarded && claim.id.area != kGibArea;  // from where the block ended on
  noise::fill(behind.begin, noisy ? std::min(behind.end, end_before) : behind.end);
  region::become(record, State::busy, State::live);
  return true;
}

bool measure(const void* ptr, size_t& room) noexcept {
  const region::Place place = region::find(reinterpret_cast<uintptr_t>(ptr));
  if (!place.ours) return false;
  const Record& record = region::record_of(place.id);
  if (!record.live() || record.address != reinterpret_cast<uintptr_t>(ptr)) return false;
  room = record.room;
  return true;
}

pages::Seal seal(pages::Seal seal) noexcept {
  if (begun() && seal == pages::Seal::filtered && pages::sealed() == pages::Seal::none) region::stock_up();
  return pages::seal(seal);
}

bool forked(uint64_t seed) noexcept {
  settings.seed = seed;
  if (!begun()) return true;
  return put_guards_up();
}

bool mend_guards() noexcept {
  if (guards_are_gone.load(std::memory_order_relaxed)) return false;
  return put_guards_up();
}

bool open_for_good(Id id, uintptr_t page) noexcept {
  if (map_home(id, page, kPage, true)) return true;
  return guards->mechanism == pages::Mechanism::mprotect && pages::protect(pointer(page), kPage, true);
}

void met_error() noexcept {
  const uint32_t enough = guards->mechanism == pages::Mechanism::mprotect ? 4096 : 16384;
  if (errors_met.fetch_add(1, std::memory_order_relaxed) >= enough) enough_met.store(true, std::memory_order_relaxed);
}

void look_for_writes() noexcept {
  region::for_each([](Id, Record& record) {
    if (record.guarded || !region::become(record, State::freed, State::busy)) return;
    look_for_writes_into(record);
    region::become(record, State::busy, State::freed);  // who wanted it meanwhile goes without
  });
}

void count_birth(const Record& record) noexcept { weigh(record, 1).born.fetch_add(1, std::memory_order_relaxed); }
void count_death(const Record& record) noexcept { weigh(record, -1).gone.fetch_add(1, std::memory_order_relaxed); }

Census census() noexcept {
  Census sum{.guarded = guarded_homes.load()};
  for (unsigned block_class = kFirstClass; block_class < kClasses; ++block_class) {
    const Share share = share_of(block_class);
    sum.live += share.blocks;
    sum.live_bytes += share.bytes;
    sum.placed += living[block_class].born.load();
  }
  return sum;
}

uint64_t period_in_bytes(size_t size, const Birth& birth) noexcept {
  constexpr uint64_t kMost = uint64_t{1} << 50;  // many are added up
  uint64_t bytes;
  if (!birth.by_calls) return birth.period;
  return __builtin_mul_overflow(birth.period, std::max<size_t>(size, 1), &bytes) ? kMost : std::min(bytes, kMost);
}

unsigned class_of(size_t size, const Birth& birth) noexcept {
  const auto size_bits = std::min(static_cast<unsigned>(std::bit_width(size)), kSizeBits - 1);
  const auto period_bits =
      std::min(static_cast<unsigned>(std::bit_width(period_in_bytes(size, birth))), kPeriodBits - 1);
  return period_bits * kSizeBits + size_bits;
}

Share share_of(unsigned block_class) noexcept {
  const Living& its = living[block_class];
  const uint64_t gone = its.gone.load();  // first: none is gone that was not born
  return {its.born.load() - gone, its.bytes.load(), its.periods.load()};
}

pages::Mechanism mechanism() noexcept { return guards->mechanism; }

Block describe(const Record& record) noexcept {
  return {record.address, record.size,         record.kind,  record.alignment_log2, record.guarded,
          record.live(),  record.guard_chance, record.birth, record.death,          record.room};
}

}  // namespace poireau::tracked_alloc
