#include "poireau/native/scan_words.h"

#include <cstring>

#include "tracked_alloc/tracked_alloc.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace poireau::scan {
namespace {

constexpr int kShift = 45;  // a word is in the region if this much less of it is 1
static_assert(tracked_alloc::kRegion >> kShift == 1 && tracked_alloc::kRegionSize == size_t{1} << kShift);

uint64_t word_at(const char* data) {
  uint64_t word;
  memcpy(&word, data, sizeof word);
  return word;
}

size_t find_from(size_t at, const char* data, size_t size, uint32_t* out, size_t count) {
  for (; at + sizeof(uint64_t) <= size; at += kStep)
    if (word_at(data + at) >> kShift == 1) out[count++] = static_cast<uint32_t>(at);
  return count;
}

}  // namespace

size_t find_words_anywhere(const char* data, size_t size, uint32_t* out) { return find_from(0, data, size, out, 0); }

#if defined(__x86_64__)

namespace {

[[gnu::target("avx2"), gnu::always_inline]] inline __m256i ours(const char* data) {
  const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
  return _mm256_cmpeq_epi64(_mm256_srli_epi64(words, kShift), _mm256_set1_epi64x(1));
}

[[gnu::target("avx2"), gnu::always_inline]] inline unsigned bits_of(__m256i words) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_castsi256_pd(words)));
}

[[gnu::target("avx2")]] size_t find_words_avx2(const char* data, size_t size, uint32_t* out) {
  size_t count = 0, at = 0;
  for (; at + 64 + kStep <= size; at += 64) {
    const __m256i a = ours(data + at), b = ours(data + at + kStep);
    const __m256i c = ours(data + at + 32), d = ours(data + at + 32 + kStep);
    const __m256i any = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
    if (_mm256_testz_si256(any, any)) [[likely]]
      continue;
    // Of each eight bytes, bits for the word that begins there, and for the one half a word on.
    const unsigned whole = bits_of(a) | bits_of(c) << 4, half = bits_of(b) | bits_of(d) << 4;
    for (unsigned i = 0; i < 8; ++i) {
      if ((whole >> i & 1) != 0) out[count++] = static_cast<uint32_t>(at + i * 8);
      if ((half >> i & 1) != 0) out[count++] = static_cast<uint32_t>(at + i * 8 + kStep);
    }
  }
  return find_from(at, data, size, out, count);
}

}  // namespace

size_t find_words(const char* data, size_t size, uint32_t* out) {
  static const bool wide = __builtin_cpu_supports("avx2") != 0;
  return wide ? find_words_avx2(data, size, out) : find_words_anywhere(data, size, out);
}

#else

size_t find_words(const char* data, size_t size, uint32_t* out) { return find_words_anywhere(data, size, out); }

#endif

}  // namespace poireau::scan
