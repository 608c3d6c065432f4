#pragma once
#include <cstddef>
#include <cstdint>

#include "preload/sampled.h"

namespace poireau {

/// What an extension library takes from libpoireau.so, which is preloaded before it.
struct Extension {
  uint64_t version;  // kExtensionVersion, or they don't fit
  ptrdiff_t gap_offset;
  int64_t region_floor;
  bool ready;                  // else ask again later
  void (*reroute)() noexcept;  // the allocator's functions may now come by the extension's hooks: try them again
  sampled::Verdict (*judge)(const sampled::Request&) noexcept;
  void (*settle)(const sampled::Request&, const sampled::Verdict&, bool granted) noexcept;
  void (*afterwards)(const sampled::Request&) noexcept;
  bool (*release)(void*, Release, size_t, const void*) noexcept;
  bool (*measure)(const void*, size_t&) noexcept;
  sampled::Loan (*borrow)(const sampled::Request&, void*) noexcept;
  void (*repay)(const sampled::Request&, const sampled::Loan&, bool) noexcept;
  void* (*place)(const sampled::Request&, const sampled::Verdict&) noexcept;
  void* (*move_in)(const sampled::Request&, const sampled::Verdict&, void*) noexcept;
};
constexpr uint64_t kExtensionVersion = 2;

}  // namespace poireau

extern "C" [[gnu::visibility("default")]] const poireau::Extension* poireau_extension();
