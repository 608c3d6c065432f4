#pragma once
#include <cstdint>

#include "tracked_alloc/homes.h"

/// Records of samples that live in remapped homes (placement = remap). Each is the record of a plain slot of one page,
/// so that whoever goes through the homes finds it; the slot itself stays untouched, and takes no memory. The block is
/// elsewhere, and its note names the record. Any thread, any time, as in homes.h.
namespace poireau::tracked_alloc::records {

/// Whether the block of the record's home lies elsewhere.
[[nodiscard]] inline bool lies_elsewhere(const Record& record) noexcept { return record.pages == 0; }

/// What such a block has for the note of its birth: from its highest bits on 15 in five, zeros, eight of its kind, and
/// the record's number. Whoever makes other notes (preload/notes.h) makes none that begins like that.
constexpr unsigned kKindAt = 32, kMarkAt = 43;
constexpr remap::Note kMark = 15;
[[nodiscard]] constexpr remap::Note note_of(region::Id id, uint8_t kind) noexcept {
  return kMark << kMarkAt | remap::Note{kind} << kKindAt | id.index;
}
[[nodiscard]] constexpr bool is_sample(remap::Note born) noexcept { return born >> kMarkAt == kMark; }
[[nodiscard]] inline bool id_of(remap::Note born, region::Id& out) noexcept {
  out = {region::area_of(0, false), static_cast<uint32_t>(born)};
  return is_sample(born);
}

/// A record for a block that is still to be found, busy; false: there is no memory for it.
[[nodiscard]] bool open(const Wanted& wanted, region::Id& out) noexcept;
/// The block is found, and lives from here on; nullptr: it isn't.
Home settle(region::Id id, void* block) noexcept;

/// Its block, if that is the one at this address, live or freed. Lock-free, for fault handlers.
[[nodiscard]] bool find(region::Id id, uintptr_t address, Block& out) noexcept;

/// Of a block that has just been freed in its remapped home, by whoever did it: until `finish` nobody else has it.
/// False: it is not known any more.
[[nodiscard]] bool claim(region::Id id, uintptr_t address, Claim& out) noexcept;
/// Of those that have ended the last 65536 are remembered.
void finish(const Claim& claim, const Death& death) noexcept;

}  // namespace poireau::tracked_alloc::records
