#include "preload/stack_rows.h"

// Programs built with -fno-omit-frame-pointer have their frames chained. Ours are not: rows lead out of them.

namespace poireau::stack {
namespace {

[[gnu::noinline, gnu::no_sanitize("address", "thread")]] size_t walk(std::span<uintptr_t> out,
                                                                     const void* caller) noexcept {
  Frame frame = frame_of_caller();
  StackPages pages = stack_pages(frame.sp);
  if (pages.end == 0 || !step_out_to(reinterpret_cast<uintptr_t>(caller), frame, pages)) return 0;
  for (size_t count = 0;;) {
    if (!our_code.holds(frame.pc)) {
      if (count == out.size()) return count + 1;
      out[count++] = frame.pc;
    }
    constexpr uintptr_t kLink = 2 * sizeof(uintptr_t), kLowest = 64 << 10;  // no code lies below
    const uintptr_t above = frame.bp + kLink;
    if (frame.bp < frame.sp || above < frame.bp || frame.bp % sizeof(uintptr_t) != 0 || !reach(pages, above))
      return count;
    const auto* const link = reinterpret_cast<const uintptr_t*>(frame.bp);
    frame = {link[1], above, link[0]};
    if (frame.pc < kLowest) return count;
  }
}

}  // namespace

constinit const Unwinder kFramePointers{"fp", []() noexcept { return true; }, walk};

}  // namespace poireau::stack
