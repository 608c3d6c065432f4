#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "poireau/native/decode_files.h"

namespace poireau::native {

struct Description {
  int64_t clock_offset;  // nanoseconds
  uint32_t process;
};

/// What this metadata says besides the layout; nothing unless it is, byte for byte, what we write of the same process.
[[nodiscard]] std::optional<Description> described_by(std::string_view metadata);
[[nodiscard]] std::optional<Description> description_of(Directory& trace);

}  // namespace poireau::native
