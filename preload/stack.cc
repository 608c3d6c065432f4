#include "preload/stack.h"

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>

#include "config/options.h"
#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"
#include "preload/module.h"
#include "preload/sandbox.h"
#include "preload/stack_check.h"
#include "preload/thread.h"
#include "preload/voice.h"

namespace poireau::stack {

constinit Code our_code{};

namespace {

constinit const Unwinder* chosen = nullptr;  // none: stacks are their callers alone

Code find_our_code() noexcept {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(&find_our_code), &found) != 0) return {};
  if (found.dlfo_link_map->l_name[0] == 0) return {};
  return {reinterpret_cast<uintptr_t>(found.dlfo_map_start), reinterpret_cast<uintptr_t>(found.dlfo_map_end)};
}

/// What an unwinder has to find on its own: who calls whom here, and above what libgcc finds.
struct Trial {
  static constexpr size_t kDeep = 3, kFrames = 16;
  const Unwinder& of;
  const void* returns_to[kDeep];
  bool passed;
};

[[gnu::noinline]] void compare(Trial& trial, const void* innermost) noexcept {
  std::array<uintptr_t, Trial::kFrames> found, wanted;
  const std::span near = std::span(found).first<Trial::kDeep>();
  trial.passed = trial.of.walk(near, innermost) >= near.size() &&
                 std::equal(near.begin(), near.end(), trial.returns_to,
                            [](uintptr_t pc, const void* to) { return pc == reinterpret_cast<uintptr_t>(to); });
  const size_t count = trial.of.walk(found, innermost), known = kLibgcc.walk(wanted, innermost);
  if (count == 0 || known == 0) return;  // the program's own frames may be beyond either
  trial.passed = trial.passed && count == known &&
                 std::equal(found.begin(), found.begin() + std::min(count, found.size()), wanted.begin());
}

[[gnu::noinline]] void descend(Trial& trial, size_t depth) noexcept {
  trial.returns_to[depth] = __builtin_return_address(0);
  if (depth == 0)
    compare(trial, trial.returns_to[0]);
  else
    descend(trial, depth - 1);
  asm volatile("" ::: "memory");  // it is returned to
}

bool passes(const Unwinder& unwinder) noexcept {
  Trial trial{unwinder, {}, false};
  descend(trial, Trial::kDeep - 1);
  return trial.passed;
}

void say_instead(const Unwinder& unwinder, std::string_view why, std::string_view other) noexcept {
  if (options.log.load(std::memory_order_relaxed) == LogLevel::off) return;
  Text text = voice::line();
  text << "unwinder " << unwinder.name << why << ": using " << other;
  voice::say(text.view());
}

/// The first of these that works. Ours is no code whose frames are chained; and a program's first sample may be taken
/// in a handler that has no room for a trial.
const Unwinder* first_that_works(std::span<const Unwinder* const> unwinders, bool asked_for) noexcept {
  for (size_t i = 0; i < unwinders.size(); ++i) {
    const Unwinder& unwinder = *unwinders[i];
    const std::string_view other = i + 1 < unwinders.size() ? unwinders[i + 1]->name : "callers alone";
    if (!unwinder.begin()) {
      if (asked_for) say_instead(unwinder, " can't be had here", other);
    } else if (&unwinder == &kFramePointers || !room_on_stack(kStackOfAWalk) || passes(unwinder)) {
      return &unwinder;
    } else {
      say_instead(unwinder, " failed its self-test", other);
    }
  }
  return nullptr;
}

std::span<const Unwinder* const> wanted() noexcept {
  static constexpr const Unwinder* kInOrder[] = {&kFramePointers, &kLibunwind, &kRows, &kLibgcc};
  const std::span all(kInOrder);
  switch (options.unwinder.load(std::memory_order_relaxed)) {
    case ::poireau::Unwinder::automatic:
    case ::poireau::Unwinder::rows:
      return all.subspan(2);
    case ::poireau::Unwinder::libgcc:
      return all.subspan(3);
    case ::poireau::Unwinder::libunwind:
      return all.subspan(1);
    case ::poireau::Unwinder::fp:
      return all.first(1);
    case ::poireau::Unwinder::none:
      break;
  }
  return {};
}

bool is_code(uintptr_t pc) noexcept { return module_of(reinterpret_cast<const void*>(pc)).map != nullptr; }

std::span<uintptr_t> as_deep_as_wanted(std::span<uintptr_t> out) noexcept {
  const uint64_t depth = options.stack_depth.load(std::memory_order_relaxed);
  return out.first(std::min<size_t>(out.size(), depth));
}

/// The instruction alone; where it is none of any file's, a jump went astray, and what lies on the stack is most
/// likely where it was called from.
size_t without_unwinding(const void* context, std::span<uintptr_t> out) noexcept {
  const uintptr_t pc = context::instruction(context), sp = context::stack_pointer(context);
  out[0] = pc;
  if (out.size() == 1 || is_code(pc) || sp % sizeof(uintptr_t) != 0) return 1;
  const auto* const pushed = reinterpret_cast<const uintptr_t*>(sp);
  if (sandbox::state() != sandbox::State::open || !sys::readable(pushed) || !is_code(*pushed)) return 1;
  out[1] = *pushed;
  return 2;
}

}  // namespace

size_t capture(std::span<uintptr_t> out, const void* caller, bool* truncated) noexcept {
  out = as_deep_as_wanted(out);
  const void* const first = caller != nullptr ? caller : __builtin_return_address(0);
  size_t count = 0;
  if (chosen != nullptr) {
    count = chosen->walk(out, first);
    if (count != 0) check(*chosen, out, count, first);
    if (count == 0) count = kLibgcc.walk(out, first);
  }
  if (count == 0) {
    if (!out.empty()) out[0] = reinterpret_cast<uintptr_t>(first);
    count = 1;
  }
  if (truncated != nullptr) *truncated = count > out.size();
  return std::min(count, out.size());
}

size_t capture_from(const void* context, std::span<uintptr_t> out) noexcept {
  out = as_deep_as_wanted(out);
  if (out.empty()) return 0;
  size_t count = 0;
  // Where there is no file's code libgcc looks at the instruction, which may not be readable.
  if (chosen != nullptr && is_code(context::instruction(context))) {
    if (chosen->walk_from != nullptr) count = chosen->walk_from(out, context);
    if (count != 0) check_from(*chosen, out, count, context);
    if (count == 0) count = kLibgcc.walk_from(out, context);
  }
  return count != 0 ? std::min(count, out.size()) : without_unwinding(context, out);
}

std::string_view unwinder() noexcept { return chosen != nullptr ? chosen->name : "none"; }

void forget_code() noexcept {
  if (chosen != nullptr && chosen->forget_code != nullptr) chosen->forget_code();
}

void begin() noexcept {
  our_code = {};  // it is what the unwinders are tried on
  static_cast<void>(kLibgcc.begin());
  chosen =
      first_that_works(wanted(), options.unwinder.load(std::memory_order_relaxed) != ::poireau::Unwinder::automatic);
  our_code = find_our_code();
}

}  // namespace poireau::stack
