#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

/// How pages are made to fault. One file a mechanism, all with this interface; nothing here knows what pages hold.
/// Ranges are whole pages. False: nothing has changed, or what has is harmless; the caller drops the sample.
namespace poireau::tracked_alloc::pages {

enum class Mechanism : uint8_t { automatic, markers, userfaultfd, mprotect, none };

struct Guards {
  Mechanism mechanism;
  /// Tries it out on pages of its own. May prepare what the others need (a descriptor).
  bool (*probe)() noexcept;
  /// Maps [at, at + size), which must be free, closed: every access faults. Adjacent ranges become one mapping.
  bool (*map)(void* at, size_t size) noexcept;
  /// Makes closed pages readable and writable; what they hold is zero, or the noise of noise.h.
  bool (*open)(void* at, size_t size) noexcept;
  /// Closes pages that are open: their content is gone, their memory given back, every access faults.
  bool (*close)(void* at, size_t size) noexcept;
  /// In a fork child, for each range mapped: makes its closed pages fault again. No other call comes before.
  bool (*map_again)(void* at, size_t size) noexcept;
  size_t most;     // pages that may be open at a time beyond what map gives; SIZE_MAX: any number
  size_t largest;  // bytes of the largest block it may hold
};

extern const Guards kMarkers, kUserfaultfd, kMprotect, kNone;

/// The first that works, or the one that is forced; kNone if that doesn't work. `open`: no filter of system calls is
/// in the way. With one, only what the loader and glibc's malloc call themselves may be used: mprotect.
[[nodiscard]] const Guards& choose(Mechanism wanted, bool open) noexcept;
[[nodiscard]] const char* name_of(Mechanism mechanism) noexcept;

/// Plain pages: mapped readable and writable. Never made huge where homes are small: one touch would cost 2 MiB.
bool map_plain(void* at, size_t size, bool small_homes) noexcept;
/// Puts one that is filled already where a closed one is, at once: nobody sees it empty. It is a mapping of its own, so
/// only for so many.
bool replace(void* page, void* filled) noexcept;
/// Gives the memory back; the pages stay, and read as zero.
bool drop(void* at, size_t size) noexcept;
/// Gives the addresses back.
bool unmap(void* at, size_t size) noexcept;

/// Set before anything is mapped. `dump`: core dumps include the pages; `open` as above (no advice that a filter may
/// not know).
void set_environment(bool dump, bool open) noexcept;

/// What is still allowed: all of it; giving memory back (drop, unmap); nothing. The rest returns false at once.
enum class Seal : uint8_t { none, filtered, strict };
/// Returns what it was.
Seal seal(Seal seal) noexcept;
[[nodiscard]] Seal sealed() noexcept;

/// The descriptor that userfaultfd guards hang on; -1: none, kNotAsked: none, and nobody has wanted to know. Whoever
/// closes it loses the guards: see wraps_close.cc, which looks before every close(); hence a variable, for
/// pages_userfaultfd.cc alone to set.
constexpr int kNotAsked = -2;
inline constinit std::atomic<int> guard_descriptor{kNotAsked};
[[nodiscard]] inline int descriptor() noexcept { return guard_descriptor.load(std::memory_order_relaxed); }
/// What `ask` says of this range, asked with that descriptor, which is opened if there is none; or EBADF.
[[nodiscard]] int ask_watcher(int (*ask)(int descriptor, void* at, size_t size) noexcept, void* at,
                              size_t size) noexcept;
/// Moves it to another number, so that the program can have this one. False: it can't be moved, or this is a child
/// that shares our memory and not our descriptors (vfork).
bool move_descriptor() noexcept;
/// Whether guards have gone that we did not open (the program closed our descriptor behind our back).
[[nodiscard]] bool guards_lost() noexcept;

}  // namespace poireau::tracked_alloc::pages
