#pragma once
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/noise.h"
#include "tracked_alloc/pages.h"
#include "tracked_alloc/quarantine.h"
#include "tracked_alloc/ration.h"
#include "tracked_alloc/region.h"
#include "tracked_alloc/verdict.h"

/// Homes of their own for sampled blocks. Any thread, any time, also in signal handlers: nobody waits, and what can't
/// be had is refused.
namespace poireau::tracked_alloc {

enum class Placement : uint8_t { slots, gib, remap };  // remap: here as slots (records.h)

/// Fixed at load.
struct Settings {
  Placement placement = Placement::slots;
  pages::Mechanism mechanism = pages::Mechanism::automatic;
  bool open = true;  // no filter of system calls is in the way
  bool dump = true;  // core dumps include homes
  size_t keep = 0;   // bytes of freed blocks' contents, for let_through
  uint64_t seed = 0;
  void (*guards_gone)() noexcept = nullptr;    // told once, when those there were can't be put up again
  bool (*before_guards)() noexcept = nullptr;  // asked before the first guarded home; false: make it a plain one
  void (*found_writes)(const Block& block, noise::Damage damage) noexcept = nullptr;  // into a poisoned block
};
void begin(const Settings& settings) noexcept;
/// No sooner is anything placed.
[[nodiscard]] bool begun() noexcept;

/// May change while running.
struct Policy {
  uint64_t guard;             // ration.h
  uint64_t ticks_per_second;  // of Birth and Death
  quarantine::Limits quarantine;
  size_t cache;
  bool poison;
  uint64_t guard_share = ration::kWhole;
};

struct Wanted {
  size_t size, alignment;
  uint8_t kind;
  bool zeroed;  // all that may be used
  Birth birth;
  size_t room = 0;  // that may be used, if more than `size`
};
/// Why there was no home.
enum class Drop : uint8_t { none, sealed, limit, memory, size };
struct Home {
  void* block;  // nullptr: none, and `drop` says why
  Drop drop;
  region::Id id{};
  uint32_t note = 0;  // of the block that had the home before
};
[[nodiscard]] Home allocate(const Wanted& wanted, const Policy& policy) noexcept;

/// A block that somebody wants to free, resize or ask about.
struct Claim {
  enum class Found : uint8_t { block, busy, watched, freed, inside, nowhere, strangers } found = Found::strangers;
  region::Id id{};
  Block block{};
  ptrdiff_t offset = 0;  // of the pointer in `block`, for `inside` and `freed`
};
/// If it is a live block, it is the caller's until `finish`, `resize` or `put_back`; others will find it `busy`.
/// watched: somebody looks at it and doesn't come to an end. strangers: what is there isn't ours.
[[nodiscard]] Claim claim(const void* ptr) noexcept;

/// The bytes around a claimed block that somebody wrote to. `known`: that he did was found before.
struct Slack {
  noise::Damage before, behind;
  bool known;
};
[[nodiscard]] Slack inspect(const Claim& claim) noexcept;

void finish(const Claim& claim, const Death& death, const Policy& policy) noexcept;
void put_back(const Claim& claim) noexcept;
/// Gives it another size where it is, and another birth. False: its home doesn't allow that; still claimed.
[[nodiscard]] bool resize(const Claim& claim, const Wanted& wanted) noexcept;

/// How much of the block may be used, without claiming it; false: it is no live block.
[[nodiscard]] bool measure(const void* ptr, size_t& room) noexcept;

/// Calls `visit(claim)` for each live block in turn; meanwhile nobody can free it.
template <typename Visit>
void for_each_live(Visit&& visit) noexcept;
/// The same for the next `homes` from `at` on, used or not. False: that was the last, and `at` is the first again.
template <typename Visit>
[[nodiscard]] bool for_some_live(region::Id& at, unsigned homes, Visit&& visit) noexcept;

/// Looks into freed blocks that are poisoned, too.
void look_for_writes() noexcept;

/// A seccomp filter is about to come, or (none) did not: what works without new mappings goes on. Returns what it was.
pages::Seal seal(pages::Seal seal) noexcept;
/// In a fork child, before anything else. False: the guards are gone.
bool forked(uint64_t seed) noexcept;
/// Guards of userfaultfd whose descriptor somebody closed: puts them up again. False: there are none any more.
bool mend_guards() noexcept;

struct Census {
  uint64_t live = 0, live_bytes = 0, guarded = 0, placed = 0;
};
[[nodiscard]] Census census() noexcept;

/// Live blocks by the bits of their sizes and of the periods that they were drawn with, for who scales them: a class is
/// close to as many of its mean block. A period of n calls is n times the size.
constexpr unsigned kSizeBits = 48, kPeriodBits = 52, kClasses = kSizeBits * kPeriodBits;
/// Those before it are of blocks that no period picked, and that nobody counts.
constexpr unsigned kFirstClass = kSizeBits;
struct Share {
  uint64_t blocks, bytes, periods;
};
[[nodiscard]] uint64_t period_in_bytes(size_t size, const Birth& birth) noexcept;
[[nodiscard]] unsigned class_of(size_t size, const Birth& birth) noexcept;
[[nodiscard]] Share share_of(unsigned block_class) noexcept;
[[nodiscard]] pages::Mechanism mechanism() noexcept;
/// For the above, of who has records of his own.
void count_birth(const Record& record) noexcept;
void count_death(const Record& record) noexcept;

[[nodiscard]] Block describe(const Record& record) noexcept;
/// Makes a page of the home's surroundings accessible, whatever becomes of it then (let_through).
[[nodiscard]] bool open_for_good(region::Id id, uintptr_t page) noexcept;
/// Another page was let through.
void met_error() noexcept;

template <typename Visit>
void visit_if_live(region::Id id, Record& record, Visit&& visit) noexcept {
  if (!region::become(record, State::live, State::watched)) return;
  visit(Claim{Claim::Found::block, id, describe(record)});
  region::become(record, State::watched, State::live);
}

template <typename Visit>
void for_each_live(Visit&& visit) noexcept {
  region::for_each([&](region::Id id, Record& record) { visit_if_live(id, record, visit); });
}

template <typename Visit>
bool for_some_live(region::Id& at, unsigned homes, Visit&& visit) noexcept {
  for (; homes > 0; --homes) {
    if (region::exists(at)) visit_if_live(at, region::record_of(at), visit);
    if (!region::step(at)) return false;
  }
  return true;
}

}  // namespace poireau::tracked_alloc
