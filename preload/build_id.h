#pragma once
#include <cstdint>
#include <span>

namespace poireau {

/// The GNU build id of a loaded file, from its notes in memory; empty: it has none. `begin` to `end`: as it is mapped.
[[nodiscard]] std::span<const uint8_t> build_id_of(const void* begin, const void* end) noexcept;

}  // namespace poireau
