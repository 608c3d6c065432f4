#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "tracked_alloc/noise.h"
#include "tracked_alloc/region.h"

/// Remapped homes: every block has a page (or several) of addresses to itself, over physical pages that blocks share.
/// Any thread, any time, also in signal handlers: nobody waits for long, and what can't be had is refused.
///
/// A *slab* is a stretch of the arena (shared memory without a descriptor), of 16 to 512 pages. A *frame* is a part of
/// each page of a slab, a bin, for blocks of one size, n of which fit into it. The slab is mapped up to n times for it;
/// each mapping is a *run* whose k-th page holds one block, at another place in the page than those of the other runs
/// have. A run of 512 pages is a page table of its own: when all its blocks are dead, the kernel moves it to addresses
/// that were never used by changing one word (6 us for 512 blocks; to close and open them page by page takes a hundred
/// times that). That closes the dead and opens the next in one. Where single blocks are to be closed at once, an
/// *engine* does it: userfaultfd or guard markers. Dead blocks that stay readable keep their memory until a sweep has
/// shown that nothing points at them (marks.h); then their addresses are used again.
namespace poireau::tracked_alloc::remap {

constexpr uintptr_t kBegin = region::kRemap;
constexpr size_t kSize = region::kRemapSize;
constexpr size_t kMost = 64 << 10;  // bytes of the largest block
constexpr size_t kMostAlignment = 4096;

/// Whether the address is one of a remapped home, or could become one.
[[nodiscard]] inline bool owns(uintptr_t address) noexcept { return address - kBegin < kSize; }

/// How single pages are closed. none: only whole runs are.
enum class Engine : uint8_t { automatic, userfaultfd, markers, none };

/// Why a block was refused; `begin` is given a function that is told each one the first time.
enum class Refusal : uint8_t {
  size,       // too large, or aligned too far: a guarded home is for it
  memory,     // the arena is full, or the kernel has no more
  addresses,  // all have been used and none is free yet, or RLIMIT_AS leaves too little
  mappings,   // the program is to keep some of max_map_count
  busy,       // somebody else holds what is needed, perhaps the function that this signal handler interrupted
  sealed,     // a sandbox
  kinds
};

/// What core dumps have of it: each block's page; the memory that these share, once; nothing.
enum class Dump : uint8_t { blocks, arena, none };

struct Settings {
  Engine engine = Engine::automatic;
  uint64_t seed = 0;
  Dump dump = Dump::blocks;
  size_t addresses = 0;  // of kSize, to be used at most; 0: all
  size_t arena = 0;      // bytes of physical memory, at most; 0: as much as the machine has
  void (*refused)(Refusal why) noexcept = nullptr;
};
/// False: there can be no remapped homes here (no memfd, a sandbox, RLIMIT_FSIZE).
[[nodiscard]] bool begin(const Settings& settings) noexcept;
[[gnu::visibility("hidden")]] extern std::atomic<bool> ready;
[[nodiscard]] inline bool begun() noexcept { return ready.load(std::memory_order_acquire); }
[[nodiscard]] Engine engine() noexcept;  // the one in force

/// What the caller wants remembered of a block's birth and of its death: 48 bits each, never looked into.
using Note = uint64_t;
constexpr unsigned kNoteBits = 48;

struct Block {
  uintptr_t address;
  size_t size,
      room;  // as asked for; what may be used: the same. Behind that there is noise, looked at when it is freed
  Note born, died;
  bool live;
  bool open;         // an access doesn't fault (a dead one's: not yet)
  size_t place = 0;  // of its first byte in the arena: the same for all that have shared these bytes
};

struct Wanted {
  size_t size, alignment;
  Note born;
  bool zeroed;
};
/// `stripe`: any number, the same for the same thread most of the time; threads with different ones don't meet.
/// nullptr: none to be had, which was counted.
[[nodiscard]] void* allocate(size_t size, size_t alignment, Note born, bool zeroed, unsigned stripe) noexcept;
[[nodiscard]] inline void* allocate(const Wanted& wanted, unsigned stripe) noexcept {
  return allocate(wanted.size, wanted.alignment, wanted.born, wanted.zeroed, stripe);
}

struct Closing {
  bool now = true;
  bool zero = false;  // what it held
};
struct Death {
  enum class Found : uint8_t { done, freed, inside, nowhere } found;  // else nothing has changed
  Block block{};                                                      // it, or the one that the address is in or was
  noise::Damage damage{};           // bytes behind the block that somebody wrote to; first == 0: none
  unsigned char found_bytes[32]{};  // of them: the first, since they may be closed by now
  bool closed = false;              // by itself, or with its run
};
/// Frees the live block that begins at `ptr`. Of several threads that try, one gets `done`.
[[nodiscard]] Death release(void* ptr, Note died, const Closing& closing) noexcept;
/// The same in fewer steps where there is nothing to tell: it was live, is not to be closed by itself, and nobody wrote
/// behind it. Else nothing has changed: ask `release`.
struct Freed {
  uint64_t born;  // its note, above whatever; 0: nothing has changed
  size_t size;
  [[nodiscard]] bool done() const noexcept { return born != 0; }
  [[nodiscard]] Note note() const noexcept { return born >> (64 - kNoteBits); }
};
[[nodiscard]] Freed release_quietly(void* ptr, Note died) noexcept;

/// What lies, or lay, at an address. Lock-free: for fault handlers.
struct Answer {
  enum class Found : uint8_t { live, dead, nowhere } found = Found::nowhere;  // nowhere: no block was ever there
  Block block{};
  ptrdiff_t offset = 0;  // from its first byte; may be negative, or beyond it
};
[[nodiscard]] Answer find(uintptr_t address) noexcept;

/// Gives a live block another size where it is; false: it doesn't fit, or would waste more than half.
[[nodiscard]] bool resize(void* ptr, size_t size, Note born) noexcept;
/// How much of a live block may be used; 0: it is none.
[[nodiscard]] size_t room_of(const void* ptr) noexcept;
/// The noise behind a live block.
[[nodiscard]] noise::Damage inspect(uintptr_t block) noexcept;
[[nodiscard]] noise::Damage inspect(const Block& seen) noexcept;  // it was live just now

/// Makes a closed page readable and writable, for good, with what it held if that is still there (let_through); or a
/// live block's page, that the kernel took away (swap). False: it is open, or can't be.
[[nodiscard]] bool open_for_good(uintptr_t address) noexcept;
[[nodiscard]] bool open_again(uintptr_t address) noexcept;

/// Calls visit(const Block&) for each live block; they may be freed meanwhile.
template <typename Visit>
void for_each_live(Visit&& visit) noexcept;
/// Live blocks of the n-th run, for the above: false when there are no more runs.
struct Batch {
  Block blocks[region::kChunkPages];
  unsigned count;
};
[[nodiscard]] bool live_in_run(size_t n, Batch& out) noexcept;

struct Standing {
  uint64_t live, live_bytes;            // bytes: what the blocks take in the arena
  uint64_t placed;                      // ever
  uint64_t open_dead, open_dead_bytes;  // freed, and still readable: a sweep, or their run's end, is to come
  uint64_t closed_dead;                 // freed, unreadable, their run goes on
  uint64_t moved;                       // blocks closed with their runs
  uint64_t closed;                      // blocks closed by themselves
  uint64_t recycled;                    // blocks whose addresses were given out again, after a sweep
  uint64_t runs, frames, mappings;      // now; mappings: of the kernel's, at most
  uint64_t arena_bytes;                 // physical memory of blocks, live and dead
  uint64_t table_bytes;                 // of entries and runs
  uint64_t addresses;                   // bytes used up so far, and not free again
  uint64_t refused[static_cast<size_t>(Refusal::kinds)];
};
[[nodiscard]] Standing standing() noexcept;
/// Allocated ever, in this process and those that it was forked from; bytes: asked for.
struct Placed {
  uint64_t blocks, bytes;
};
[[nodiscard]] Placed placed() noexcept;
/// The two that are asked for all the time.
[[nodiscard]] uint64_t open_dead_bytes() noexcept;
[[nodiscard]] uint64_t live_bytes() noexcept;
/// Whether most addresses have been used: only a sweep can make old ones usable again.
[[nodiscard]] bool addresses_short() noexcept;

/// Gives memory back that no block needs: frames whose blocks are all dead and closed.
void trim() noexcept;

/// A seccomp filter is about to come: no mappings from here on, only what is there. True: undo.
void seal(bool sealed) noexcept;

// fork. The memory of remapped blocks is shared, so a child needs a copy of it, and libc writes to blocks in the child
// before anybody can be asked. So the parent makes the copy, and the child puts right what has changed since.
/// Where the caller's stack lies in a block (a signal stack, a coroutine's), that is not shared from here on: parent
/// and child each go on with theirs.
void take_stack_apart() noexcept;
/// While the other threads stand still. False: there is no copy, the child has to make it late.
bool before_fork() noexcept;
/// When the child has come apart.
void after_fork_in_parent() noexcept;
/// The child's. `whole`: nobody else has written since the copy was made; else it is made again. `apart` is called as
/// soon as the parent may write. False: there could be no copy; the blocks are the parent's still, and nothing more is
/// to be placed.
[[nodiscard]] bool after_fork_in_child(bool whole, void (*apart)() noexcept) noexcept;

template <typename Visit>
void for_each_live(Visit&& visit) noexcept {
  Batch batch;
  for (size_t n = 0; live_in_run(n, batch); ++n)
    for (unsigned i = 0; i < batch.count; ++i) visit(batch.blocks[i]);
}

}  // namespace poireau::tracked_alloc::remap
