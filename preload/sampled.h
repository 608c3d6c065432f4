#pragma once
#include <cstddef>
#include <string_view>

#include "preload/kinds.h"
#include "preload/sampler.h"
#include "tracked_alloc/region.h"

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
  uint64_t since = 0;           // from when on what is done for it has not been counted yet, in ticks
};

[[gnu::cold, gnu::noinline]] Verdict judge(const Request& request) noexcept;

/// The real allocator's answer to a request judged `real`.
[[gnu::cold, gnu::noinline]] void settle(const Request& request, const Verdict& verdict, bool granted) noexcept;

/// A home of its own for a request that was picked, settled then; nullptr: there is none, ask the real allocator.
[[gnu::cold, gnu::noinline, nodiscard]] void* place(const Request& request, const Verdict& verdict) noexcept;
/// The same for a request to resize `ptr`, a block of the real allocator or nullptr: its content moves in.
[[gnu::cold, gnu::noinline, nodiscard]] void* move_in(const Request& request, const Verdict& verdict,
                                                      void* ptr) noexcept;

/// A request that was granted and that nobody has counted.
[[gnu::cold, gnu::noinline]] void afterwards(const Request& request) noexcept;

/// A request of `size` bytes is to be asked for in another way, and counted there. Returns its caller if it was judged.
[[gnu::cold, gnu::noinline]] const void* withdraw(size_t size) noexcept;

[[gnu::cold, gnu::noinline]] void* early(const Request& request) noexcept;
[[gnu::cold, gnu::noinline]] void* early_resize(const Request& request, void* ptr) noexcept;

// For a `ptr` in our region, or any while the process is not ready:

/// Frees it if it is ours; false: pass it on to the real allocator. `size`: what the caller believes it to have, or
/// kNoSize.
[[gnu::cold, gnu::noinline, nodiscard]] bool release(void* ptr, Release with, size_t size, const void* caller) noexcept;
/// True if it is ours; then `size` is what may be used of it.
[[gnu::cold, gnu::noinline, nodiscard]] bool measure(const void* ptr, size_t& size) noexcept;

/// A block that is to be resized. `done`: `ptr` is the result. `theirs`: it isn't ours, resize it as any other. `lent`:
/// `ptr` is a block of the real allocator with the same content; resize that, then `repay`.
struct Loan {
  enum class Way : uint8_t { done, theirs, lent } way;
  void* ptr;
  void* origin = nullptr;  // the block itself
  uint64_t home = 0;       // its number, where it has one
  Verdict verdict{};
};
[[gnu::cold, gnu::noinline, nodiscard]] Loan borrow(const Request& request, void* ptr) noexcept;
/// The loan was resized, or (`granted` false) stands: then so does the block.
[[gnu::cold, gnu::noinline]] void repay(const Request& request, const Loan& loan, bool granted) noexcept;

/// From here on samples may get homes. They are made ready for the first one, as the options want them, or by
/// `prepare_homes`, for who can't wait.
void allow_homes() noexcept;
void prepare_homes() noexcept;
/// A seccomp filter is about to come.
void prepare_for_sandbox() noexcept;
/// No more homes: somebody may free behind our back what he got from the program.
void close_homes() noexcept;
/// Files have been unloaded: where they were there may be others.
void forget_modules() noexcept;

/// Who operator new and delete belong to: somebody who asks malloc and free and perhaps has more in his blocks than he
/// gives out; the allocator beneath, who may go either way; or us, and every block has its true kind.
enum class Operators : uint8_t { theirs, allocators, ours };
void set_operators(Operators whose) noexcept;

/// At the end of the process: looks at the surroundings of all blocks that are still there.
void check_all() noexcept;
/// The same a part at a time, some 20 us long. What was told of is counted, but not told again.
struct Check {
  tracked_alloc::region::Id at{};  // where it goes on; all-zero: at the beginning
  bool homes_done = false;         // then come runs of remapped blocks
  size_t run = 0;
  std::string_view found_by = "verify";
  uint64_t blocks = 0, errors = 0;  // looked at, and of them with changed bytes around them
};
/// False: that was the end.
[[nodiscard]] bool check_some(Check& check) noexcept;

/// Somebody is in the library anyway: does what is due. Often.
void pass_by() noexcept;

/// `real` once the process is ready; before that, one step closer, and what to do meanwhile.
Way get_ready() noexcept;
/// Looks whether this is a child made behind fork's back.
void notice_fork() noexcept;
/// The process is ready. Once, by lifecycle.cc.
void set_ready() noexcept;
/// No request is to be sampled in this process, whatever the options say.
void set_dormant() noexcept;
[[nodiscard]] bool dormant() noexcept;
/// Whose request it is that this thread is asking the real allocator for; nullptr: nobody's that we know of.
[[gnu::tls_model("initial-exec"), gnu::visibility("hidden")]] extern constinit thread_local const void* asking;
[[nodiscard]] inline const void* asker() noexcept { return asking; }
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
