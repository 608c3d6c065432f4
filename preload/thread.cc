#include "preload/thread.h"

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/sandbox.h"

namespace poireau {
namespace {

[[gnu::tls_model("initial-exec")]] constinit thread_local uint32_t number = 0;      // 0: not asked for yet
[[gnu::tls_model("initial-exec")]] constinit thread_local uint32_t roomy_page = 0;  // down to it there is stack

constexpr uint32_t kNotTheKernels = uint32_t{1} << 31;  // above all thread ids

uint32_t derived() noexcept {
  const auto address = reinterpret_cast<uintptr_t>(__builtin_thread_pointer());
  return static_cast<uint32_t>(scramble(address)) | kNotTheKernels;
}

}  // namespace

uint32_t thread_number() noexcept {
  if (number != 0) return number;
  const int id = sandbox::state() == sandbox::State::open ? sys::thread_id() : -1;
  return number = id > 0 ? static_cast<uint32_t>(id) : derived();
}

void forget_thread_number() noexcept { number = 0; }

bool room_on_stack(size_t bytes) noexcept {
  constexpr size_t kPage = 4096;
  const uintptr_t here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) / kPage;
  const uintptr_t lowest = (reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - bytes) / kPage;
  const uint32_t known = roomy_page;
  if (static_cast<uint32_t>(lowest) - known <= static_cast<uint32_t>(here - lowest)) return true;
  if (sandbox::state() != sandbox::State::open) return true;
  for (uintptr_t page = here; page-- > lowest;)
    if (!sys::readable(reinterpret_cast<const void*>(page * kPage))) return false;
  roomy_page = static_cast<uint32_t>(lowest);
  return true;
}

}  // namespace poireau
