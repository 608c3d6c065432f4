#include "preload/depot.h"
#include "preload/governor.h"
#include "preload/journal.h"
#include "preload/pieces.h"
#include "preload/poireau.h"
#include "preload/pools.h"
#include "preload/process.h"
#include "preload/protection.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/stats.h"
#include "preload/trace.h"
#include "tracked_alloc/records.h"
#include "tracked_alloc/remap.h"
#include "tracked_alloc/tracked_alloc.h"

// What a program may ask us, and tell us (poireau.h).

#define OWN_EXPORT extern "C" [[gnu::visibility("default")]]

using namespace poireau;

OWN_EXPORT const char* poireau_version() { return POIREAU_VERSION; }

OWN_EXPORT size_t poireau_get_stats(poireau_stats* out, size_t size) {
  char* const bytes = reinterpret_cast<char*>(out);
  size_t known = 0;
  const auto give = [&](size_t offset, const auto& value) {  // what has room
    known = offset + sizeof value;
    if (offset < size) __builtin_memcpy(bytes + offset, &value, known <= size ? sizeof value : size - offset);
  };
#define GIVE(field, value) give(offsetof(poireau_stats, field), decltype(poireau_stats::field)(value))
#define GIVE_COUNTER(field) GIVE(field, stats.field.load(std::memory_order_relaxed))
  GIVE_COUNTER(samples);
  GIVE_COUNTER(sampled_bytes);
  GIVE_COUNTER(counted_bytes);
  GIVE_COUNTER(early);
  GIVE_COUNTER(dropped);
  GIVE(generation, process::generation());
  GIVE_COUNTER(deepbinds);
  GIVE_COUNTER(namespaces);
  GIVE(sample_period, sampled::dormant() ? 0 : governor::period());
  const process::RunId id = process::run_id();
  give(offsetof(poireau_stats, run_id), id);
  const tracked_alloc::Census census = tracked_alloc::census();
  GIVE(live, census.live);
  GIVE(live_bytes, census.live_bytes);
  GIVE(guarded, census.guarded);
  GIVE(placed, census.placed);
  GIVE(errors, report::errors());
  GIVE(stackless, depot::refused());
  GIVE(cycles, stats.cycles());
  GIVE(trace_bytes, trace::bytes());
  GIVE(trace_dropped, trace::dropped());
  GIVE(trace_lost, journal::lost());
  give(offsetof(poireau_stats, unplaced), stats.unplaced);
  GIVE(overlong_cycles, stats.overlong.load(std::memory_order_relaxed));
  give(offsetof(poireau_stats, pointers), stats.pointers);
  poireau_protection protection;
  gather(protection);
  give(offsetof(poireau_stats, protection), protection);
#undef GIVE_COUNTER
#undef GIVE
  return known < size ? known : size;
}

namespace {

constexpr uint64_t kOfArena = uint64_t{1} << 63;  // identities: a place in the arena of remapped homes, not an address

int tell(poireau_block& out, uintptr_t address, size_t size, uint64_t identity, int origin, bool freed) {
  out = {reinterpret_cast<void*>(address), size, identity, origin, freed};
  return 1;
}

int find(uintptr_t address, poireau_block& out) {
  if (const pools::Object object = pools::find(address); object.address != 0)
    return tell(out, object.address, object.size, object.address, POIREAU_OF_POOL, !object.live);
  if (tracked_alloc::remap::owns(address)) {
    const auto [found, block, offset] = tracked_alloc::remap::find(address);
    if (found == tracked_alloc::remap::Answer::Found::nowhere) return 0;
    const int origin = tracked_alloc::records::is_sample(block.born) ? POIREAU_SAMPLED : POIREAU_PROTECTED;
    return tell(out, block.address, block.size, kOfArena | block.place, origin, !block.live);
  }
  if (!tracked_alloc::owns(reinterpret_cast<const void*>(address))) return 0;
  const auto [finding, block, offset] = tracked_alloc::judge_access(address);
  if (finding == tracked_alloc::Finding::not_ours || finding == tracked_alloc::Finding::wild || block.address == 0)
    return 0;
  const int origin = block.birth.period != 0 ? POIREAU_SAMPLED : POIREAU_PROTECTED;
  return tell(out, block.address, block.size, block.address, origin, !block.live);
}

}  // namespace

OWN_EXPORT int poireau_find_block(const void* address, poireau_block* out) {
  return find(reinterpret_cast<uintptr_t>(address), *out);
}

OWN_EXPORT int poireau_pool_create(void* begin, size_t size) {
  return pools::create(reinterpret_cast<uintptr_t>(begin), size) ? 0 : -1;
}
OWN_EXPORT void poireau_pool_destroy(void* begin) { pools::destroy(reinterpret_cast<uintptr_t>(begin)); }
OWN_EXPORT void poireau_pool_allocated(void* object, size_t size) {
  pools::allocated(reinterpret_cast<uintptr_t>(object), size);
}
OWN_EXPORT void poireau_pool_freed(void* object) {
  const pools::Object was = pools::freed(reinterpret_cast<uintptr_t>(object));
  if (was.address == 0 || was.live) return;
  const tracked_alloc::Block block = calls::block_of(was);
  report::tell({.error = report::Error::double_free,
                .address = was.address,
                .block = &block,
                .function = "poireau_pool_freed",
                .caller = __builtin_return_address(0)});
}

OWN_EXPORT void poireau_phase(const char* name) {
  if (!sampled::dormant()) journal::noted("phase", name != nullptr ? name : "");
}
OWN_EXPORT int poireau_keep(const void* block) {
  return !sampled::dormant() && journal::kept(reinterpret_cast<uintptr_t>(block));
}
