#include <dlfcn.h>
#include <link.h>
#include <unwind.h>

#include "preload/base/context_x86_64.h"
#include "preload/stack.h"
#include "preload/thread.h"

// libgcc steps from frame to frame. It finds a frame's description without a lock where the file has a table of them
// (all but static executables at fixed addresses); where it hasn't, it would lock and allocate, so we don't ask it.

namespace poireau::stack {
namespace {

/// Whether it finds tables here: such an executable, whose start files have libgcc keep a list of its own, has none.
constinit bool able = false;

struct Walk {
  std::span<uintptr_t> out;
  uintptr_t first;      // the frame to begin with: what came before is dropped
  bool is_interrupted;  // it was, by a signal
  bool met = false, more = false;
  size_t count = 0, steps = 0;
  uintptr_t frame = 0;

  size_t run() noexcept;
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
    walk.more = false;
    walk.count = 0;
  }
  if (our_code.holds(pc) && !(first && walk.is_interrupted)) return _URC_NO_REASON;
  if (walk.count == walk.out.size())
    walk.more = true;
  else
    walk.out[walk.count++] = pc;
  return walk.met && walk.more ? _URC_END_OF_STACK : _URC_NO_REASON;
}

size_t Walk::run() noexcept {
  if (!able) return 0;
  _Unwind_Backtrace(step, this);
  return count + more;
}

bool begin() noexcept {
  dl_find_object found;
  able = _dl_find_object(reinterpret_cast<void*>(&begin), &found) == 0 && found.dlfo_eh_frame != nullptr &&
         found.dlfo_link_map->l_ld != nullptr;
  uintptr_t frame;  // the first walk looks at the processor
  if (room_on_stack(kStackOfAWalk)) Walk{{&frame, 1}, 0, false}.run();
  return able;
}

size_t walk(std::span<uintptr_t> out, const void* caller) noexcept {
  return Walk{out, reinterpret_cast<uintptr_t>(caller), false}.run();
}

size_t walk_from(std::span<uintptr_t> out, const void* context) noexcept {
  Walk walk{out, context::instruction(context), true};
  const size_t count = walk.run();
  return walk.met ? count : 0;
}

}  // namespace

constinit const Unwinder kLibgcc{"libgcc", begin, walk, walk_from};

}  // namespace poireau::stack
