#include "poireau/native/replay_perform.h"

#include <malloc.h>

#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>

namespace poireau::replay {
namespace {

constexpr size_t kPage = 4096;

void* obtain(How how, void* old, size_t size, size_t alignment) noexcept try {
  switch (how) {
    case How::malloc:
      return malloc(size);
    case How::calloc:
      return calloc(1, size);
    case How::memalign:
      return memalign(alignment, size);
    case How::aligned_alloc:
      return aligned_alloc(alignment, size);
    case How::posix_memalign: {
      void* out = nullptr;
      return posix_memalign(&out, std::max(alignment, sizeof out), size) == 0 ? out : nullptr;
    }
    case How::valloc:
      return valloc(size);
    case How::pvalloc:
      return pvalloc(size);
    case How::scalar_new:
      return ::operator new(size);
    case How::array_new:
      return ::operator new[](size);
    case How::aligned_scalar_new:
      return ::operator new (size, std::align_val_t{alignment});
    case How::aligned_array_new:
      return ::operator new[](size, std::align_val_t{alignment});
    case How::realloc:
      return realloc(old, size);
    case How::reallocarray:
      return reallocarray(old, 1, size);
    default:
      return nullptr;
  }
} catch (...) {
  return nullptr;
}
/// Some give a block of no bytes then.
[[gnu::noinline]] void resize_to_nothing(void* ptr) noexcept { free(realloc(ptr, 0)); }
void release(How how, void* ptr) noexcept {
  if (how == How::scalar_delete) return ::operator delete(ptr);
  if (how == How::array_delete) return ::operator delete[](ptr);
  if (how == How::realloc && ptr != nullptr) return resize_to_nothing(ptr);
  free(ptr);
}
void touch(volatile char* at, size_t size) noexcept {
  if (the.wishes.touch == Touch::none) return;
  if (the.wishes.touch == Touch::all) std::memset(const_cast<char*>(at), 1, size);
  at[0] = 1;
  if (the.wishes.touch == Touch::page)
    for (size_t next = kPage - reinterpret_cast<uintptr_t>(at) % kPage; next < size; next += kPage) at[next] = 1;
}

template <typename Act>
auto timed(Histogram& into, Act act) noexcept {
  const uint64_t before = ticks_before();
  auto const result = act();
  into.add(ticks_after() - before);
  return result;
}

}  // namespace

void perform(Slot& slot, const Call& call, Tally& tally) noexcept {
  const Form form = the.calls->functions()[call.function].form;
  const How how = the.stands[call.function].how;
  if (form == Form::release) {
    void* const ptr = slot.ptr;
    slot.ptr = nullptr;
    timed(tally.functions[call.function], [&] { return release(how, ptr), 0; });
    return;
  }
  const size_t size = call.size, alignment = size_t{1} << call.alignment;
  void* const old = form == Form::resize ? slot.ptr : nullptr;
  void* const fresh = timed(tally.functions[call.function], [&] { return obtain(how, old, size, alignment); });
  ++tally.sizes[std::bit_width(size)];
  const bool failed = fresh == nullptr && size != 0;
  tally.failed += failed;
  if (failed && form == Form::resize) return;
  slot.ptr = fresh;
  tally.misaligned += form == Form::birth && size != 0 && the.calls->functions()[call.function].aligned &&
                      (reinterpret_cast<uintptr_t>(fresh) & (alignment - 1)) != 0;
  if (fresh != nullptr && size != 0) touch(static_cast<volatile char*>(fresh), size);
}

}  // namespace poireau::replay
