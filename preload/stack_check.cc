#include "preload/stack_check.h"

#ifdef POIREAU_FAULTS
#include <algorithm>
#include <cstdlib>

#include "preload/base/random.h"
#include "preload/module.h"
#include "preload/voice.h"

namespace poireau::stack {
namespace {

/// The stack is little: both walks have the same room, and only their sums are kept.
uint64_t sum_of(std::span<const uintptr_t> out, size_t count) noexcept {
  uint64_t sum = count;
  for (const uintptr_t frame : out.first(std::min(count, out.size()))) sum = scramble(sum ^ frame);
  return sum;
}

[[gnu::noinline]] void say(std::string_view what, std::string_view whose, uint64_t number) noexcept {
  Text text;
  text << what << whose << " " << number;
  voice::say(text.view());
}

void show(const Unwinder& by, std::span<const uintptr_t> out, size_t count) noexcept {
  say("  frames by ", by.name, count);
  for (const uintptr_t frame : out.first(std::min(count, out.size()))) {
    const Module module = module_of(reinterpret_cast<const void*>(frame));
    say("    ", module.path.empty() ? "(no library's)" : module.path, frame - module.base);
  }
}

template <typename Walk>
void compare(const Unwinder& by, std::span<uintptr_t> out, size_t count, Walk&& walk) noexcept {
  if (&by != &kRows) return;
  const uint64_t sum = sum_of(out, count);
  const size_t known = walk(kLibgcc);
  if (known == 0) {  // it can't say
    static_cast<void>(walk(by));
    return;
  }
  if (sum_of(out, known) == sum) return;
  voice::say("poireau: rows and libgcc differ on a stack");
  show(kLibgcc, out, known);
  show(by, out, walk(by));
  std::abort();
}

}  // namespace

void check(const Unwinder& by, std::span<uintptr_t> out, size_t count, const void* caller) noexcept {
  compare(by, out, count, [&](const Unwinder& with) { return with.walk(out, caller); });
}

void check_from(const Unwinder& by, std::span<uintptr_t> out, size_t count, const void* context) noexcept {
  compare(by, out, count, [&](const Unwinder& with) { return with.walk_from(out, context); });
}

}  // namespace poireau::stack
#endif
