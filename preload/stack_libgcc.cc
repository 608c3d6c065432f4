#include <dlfcn.h>
#include <link.h>
#include <unwind.h>

#include <algorithm>

#include "config/options.h"
#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"
#include "preload/module.h"
#include "preload/sandbox.h"
#include "preload/stack.h"

// libgcc steps from frame to frame. It finds a frame's description without a lock where the file has a table of them
// (all but static executables at fixed addresses); where it hasn't, it would lock and allocate, so we don't ask it.

namespace poireau::stack {
namespace {

constexpr size_t kMostOfOurs = 64;  // frames passed over: ours, a handler's, those of who called the hook

/// The code that is ours alone; none where we are part of the program.
struct Code {
  bool unwinds = false;
  uintptr_t begin = 0, end = 0;
  [[nodiscard]] bool holds(uintptr_t pc) const noexcept { return pc - begin < end - begin; }
};

Code our_code() noexcept {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(&our_code), &found) != 0 || found.dlfo_eh_frame == nullptr) return {};
  const link_map& file = *found.dlfo_link_map;
  if (file.l_ld == nullptr) return {};  // such an executable: its start files have libgcc keep a list of its own
  if (file.l_name[0] == 0) return {.unwinds = true};
  return {true, reinterpret_cast<uintptr_t>(found.dlfo_map_start), reinterpret_cast<uintptr_t>(found.dlfo_map_end)};
}

struct Walk {
  std::span<uintptr_t> out;
  uintptr_t first;      // the frame to begin with: what came before is dropped
  bool is_interrupted;  // it was, by a signal
  Code ours = our_code();
  bool met = false;
  size_t count = 0, steps = 0;
  uintptr_t frame = 0;
};

_Unwind_Reason_Code step(_Unwind_Context* context, void* data) {
  auto& walk = *static_cast<Walk*>(data);
  int interrupted = 0;
  const uintptr_t pc = _Unwind_GetIPInfo(context, &interrupted), frame = _Unwind_GetCFA(context);
  // Only a signal may have moved the thread to another stack.
  const bool sound = frame > walk.frame || interrupted != 0;
  if (pc == 0 || !sound || ++walk.steps > kMostFrames + kMostOfOurs) return _URC_END_OF_STACK;
  walk.frame = frame;
  const bool first = !walk.met && pc == walk.first && (interrupted != 0 || !walk.is_interrupted);
  if (first) {
    walk.met = true;
    walk.count = 0;
  }
  const bool wanted = !walk.ours.holds(pc) || (first && walk.is_interrupted);
  if (wanted && walk.count < walk.out.size()) walk.out[walk.count++] = pc;
  return walk.met && walk.count == walk.out.size() ? _URC_END_OF_STACK : _URC_NO_REASON;
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
  if (truncated != nullptr) *truncated = false;
  out = as_deep_as_wanted(out);
  if (out.empty()) return 0;
  Walk walk{out, reinterpret_cast<uintptr_t>(caller != nullptr ? caller : __builtin_return_address(0)), false};
  if (walk.ours.unwinds) _Unwind_Backtrace(step, &walk);
  if (walk.count == 0 && caller != nullptr) out[walk.count++] = walk.first;
  return walk.count;
}

size_t capture_from(const void* context, std::span<uintptr_t> out) noexcept {
  out = as_deep_as_wanted(out);
  if (out.empty()) return 0;
  Walk walk{out, context::instruction(context), true};
  // Where there is no file's code libgcc looks at the instruction, which may not be readable.
  if (walk.ours.unwinds && is_code(walk.first)) _Unwind_Backtrace(step, &walk);
  return walk.met ? walk.count : without_unwinding(context, out);
}

std::string_view unwinder() noexcept { return "libgcc"; }
void forget_code() noexcept {}
void begin() noexcept {
  uintptr_t frame;
  static_cast<void>(capture({&frame, 1}));
}

}  // namespace poireau::stack
