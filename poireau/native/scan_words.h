#pragma once
#include <cstddef>
#include <cstdint>

/// The words that lie in our region: one of a million elsewhere, so that all else may take its time.
namespace poireau::scan {

constexpr size_t kStep = 4;  // packed structures, such as epoll_event, have pointers at such places

/// The offsets, multiples of kStep, of such words in `data`; `out` has room for size / kStep. How many.
[[nodiscard]] size_t find_words(const char* data, size_t size, uint32_t* out);

/// The same on any processor.
[[nodiscard]] size_t find_words_anywhere(const char* data, size_t size, uint32_t* out);

}  // namespace poireau::scan
