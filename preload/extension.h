#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "preload/sampled.h"

namespace poireau {

/// What an extension library takes from libpoireau.so, which is preloaded before it.
struct Extension {
  uint64_t version;  // kExtensionVersion, or they don't fit
  ptrdiff_t gap_offset;
  int64_t region_floor;
  bool ready;  // else ask again later
  // The allocator's functions may now come by the extension's hooks: tries them again, and calls `also` while malloc is
  // the allocator's.
  void (*reroute)(void (*also)() noexcept) noexcept;
  sampled::Verdict (*judge)(const sampled::Request&) noexcept;
  void (*settle)(const sampled::Request&, const sampled::Verdict&, bool granted) noexcept;
  void (*afterwards)(const sampled::Request&) noexcept;
  bool (*release)(void*, Release, size_t, const void*) noexcept;
  bool (*measure)(const void*, size_t&) noexcept;
  sampled::Loan (*borrow)(const sampled::Request&, void*) noexcept;
  void (*repay)(const sampled::Request&, const sampled::Loan&, bool) noexcept;
  void* (*place)(const sampled::Request&, const sampled::Verdict&) noexcept;
  void* (*move_in)(const sampled::Request&, const sampled::Verdict&, void*) noexcept;
  // protect.h
  bool (*protects_all)() noexcept;
  void* (*allocate_protected)(Kind, size_t size, size_t alignment, const void* caller) noexcept;
  void* (*move_in_protected)(const sampled::Request&, void*) noexcept;
  bool (*is_no_block)(const void*, std::string_view, const void*) noexcept;
};
constexpr uint64_t kExtensionVersion = 3;

}  // namespace poireau

extern "C" [[gnu::visibility("default")]] const poireau::Extension* poireau_extension();
