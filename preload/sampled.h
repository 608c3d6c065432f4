#pragma once
#include <cstddef>

#include "preload/kinds.h"
#include "preload/sampler.h"

/// What the hooks do for the few requests that are not passed on at once. All cold, none of it a system call once the
/// process is running, all of it able to run in a signal handler.
namespace poireau::sampled {

struct Request {
  Kind kind;
  size_t size, alignment;
  const void* caller;
};

/// What to do with a request.
enum class Way {
  real,   // ask the real allocator, then `settle`
  again,  // the process is only now ready: start over
  pass,   // not ready yet, but the real allocator is known: ask it, nothing to settle
  early,  // not even that: serve it from the bootstrap arena
};
struct Verdict {
  Way way;
  uint64_t period = 0;          // what picked it; 0: nothing did
  const void* outer = nullptr;  // see `withdraw`
};

[[gnu::cold, gnu::noinline]] Verdict judge(const Request& request) noexcept;

/// The real allocator's answer to a request judged `real`.
[[gnu::cold, gnu::noinline]] void settle(const Request& request, const Verdict& verdict, bool granted) noexcept;

/// A request that was granted and that nobody has counted.
[[gnu::cold, gnu::noinline]] void afterwards(const Request& request) noexcept;

/// A request of `size` bytes is to be asked for in another way, and counted there. Returns its caller if it was judged.
[[gnu::cold, gnu::noinline]] const void* withdraw(size_t size) noexcept;

[[gnu::cold, gnu::noinline]] void* early(const Request& request) noexcept;
[[gnu::cold, gnu::noinline]] void* early_resize(const Request& request, void* ptr) noexcept;

/// For a `ptr` in our region, or any while the process is not ready.
/// Frees it if it is ours; false: pass it on to the real allocator.
[[gnu::cold, gnu::noinline, nodiscard]] bool release(void* ptr) noexcept;
/// True if it is ours; then `size` is what may be used of it.
[[gnu::cold, gnu::noinline, nodiscard]] bool measure(const void* ptr, size_t& size) noexcept;
/// Makes it the real allocator's if it is ours, content and size kept; nullptr: no memory, `ptr` stands.
[[gnu::cold, gnu::noinline, nodiscard]] void* hand_over(void* ptr) noexcept;

/// Whether the process is ready. Set once, by lifecycle.cc.
void set_ready() noexcept;
/// No request is to be sampled in this process, whatever the options say.
void set_dormant() noexcept;
[[nodiscard]] bool dormant() noexcept;
/// A fork child with its own thread state: forgets what the parent counted.
void forked() noexcept;

}  // namespace poireau::sampled

namespace poireau::lifecycle {

/// Takes the process as far towards readiness as it gets. Safe from any thread at any time, also while it runs.
sampled::Way start() noexcept;

/// For hooks that a constructor may call before anybody has allocated.
void be_resolved() noexcept;

/// Whether the loader has relocated us. Until then nothing outside this library can be reached, not even errno.
[[nodiscard]] bool relocated() noexcept;

}  // namespace poireau::lifecycle
