#include "preload/faults.h"

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "config/options.h"
#include "preload/base/context_x86_64.h"
#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/disposition.h"
#include "preload/process.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sandbox.h"
#include "tracked_alloc/tracked_alloc.h"
#include "tracked_alloc/verdict.h"

// The kernel has our handler with the flags and the mask of the program's own. A signal that is the program's finds
// everything as its handler wants it (stack, mask, what is restarted), and ours leaves by a jump as if it had never
// run.

extern "C" {
using poireau::Handler;

[[gnu::visibility("hidden")]] void poireau_on_signal(int number, siginfo_t* info, void* context);
[[gnu::visibility("hidden")]] Handler poireau_behind_ours(int number, siginfo_t* info, ucontext_t* context) noexcept;
[[gnu::visibility("hidden")]] void poireau_on_stack(void* top, void (*work)(void*), void* argument) noexcept;
}

namespace poireau::faults {
namespace {

constinit Shadow shadows[2];
Shadow& shadow_of(int number) noexcept { return shadows[number == SIGBUS]; }

enum class State { apart, armed, refused };
constinit std::atomic<State> state{State::apart};
constinit std::atomic<bool> expecting{false};

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

/// In a sandbox that came with us the kernel may be asked what the program has asked it already.
constinit std::atomic<bool> sigaction_works{false};
bool may_arm() noexcept {
  return may_ask() ||
         (sandbox::state() == sandbox::State::inherited && sigaction_works.load(std::memory_order_relaxed));
}

/// The process whose handlers the shadows are. In a vfork child they are still its parent's: what the child sets is its
/// own, in its parent's memory.
constinit std::atomic<uint64_t> owner{0};

bool in_borrowed_memory() noexcept {
  if (!may_ask()) return false;
  const uint64_t generation = process::generation() + process::is_new_child() + 1;
  const uint64_t self = generation << 32 | static_cast<unsigned>(sys::process_id());
  const uint64_t known = owner.load(std::memory_order_relaxed);
  if (known >> 32 == self >> 32) return known != self;
  owner.store(self, std::memory_order_relaxed);
  return false;
}

bool is_ours(const struct sigaction& action) noexcept { return action.sa_sigaction == poireau_on_signal; }

/// Our handler, so that `behind` can be called from it.
struct sigaction in_front_of(const Disposition& behind) noexcept {
  struct sigaction action {};
  action.sa_sigaction = poireau_on_signal;
  action.sa_mask.__val[0] = behind.mask;
  action.sa_flags = (behind.flags() | SA_SIGINFO) & ~static_cast<int>(SA_RESETHAND);
  if (!behind.calls()) action.sa_flags = (action.sa_flags | SA_ONSTACK | SA_RESTART) & ~SA_NODEFER;
  return action;
}

/// Puts our handler before what is behind it, and whoever comes last has seen the last change. `before`: what the
/// kernel had, or nullptr.
bool put_in_front(int number, struct sigaction* before) noexcept {
  Shadow& shadow = shadow_of(number);
  for (Disposition behind = shadow.get();; before = nullptr) {
    const struct sigaction ours = in_front_of(behind);
    if (real.sigaction(number, &ours, before) != 0) return false;
    const Disposition now = shadow.get();
    if (now == behind) return true;
    behind = now;
  }
}

/// Several threads may be at it at once. What another sets meanwhile is found by whoever replaces it, or its setter
/// finds our handler (see `change`).
bool arm(int number) noexcept {
  Shadow& shadow = shadow_of(number);
  struct sigaction before;
  if (real.sigaction(number, nullptr, &before) != 0) return false;
  if (!is_ours(before)) shadow.replace({}, Disposition::of(before));
  const Disposition guess = shadow.get();
  const struct sigaction ours = in_front_of(guess);
  if (real.sigaction(number, &ours, &before) != 0) return false;
  if (!is_ours(before)) shadow.replace(guess, Disposition::of(before));
  return put_in_front(number, nullptr);
}

// A fault is looked into, and told, on a stack of our own: the one that the handler is given may be an alternate stack
// with room for little more than its frame. All of it takes 3 KiB; the rest is for the program's SIGABRT handler,
// should it come to that. What another thread had when the process forked stays taken in the child.
constexpr size_t kSpares = 4, kSpareSize = 32 << 10, kEnough = 6 << 10;
alignas(16) [[gnu::section(".lbss")]] constinit std::byte spares[kSpares][kSpareSize];
constinit std::atomic<uint32_t> spares_taken{0};

class Spare {
 public:
  Spare() noexcept {
    while (which_ < kSpares && (spares_taken.fetch_or(1u << which_) & 1u << which_) != 0) ++which_;
  }
  ~Spare() {
    if (*this) spares_taken.fetch_and(~(1u << which_));
  }
  Spare(const Spare&) = delete;
  Spare& operator=(const Spare&) = delete;
  explicit operator bool() const noexcept { return which_ < kSpares; }
  [[nodiscard]] void* top() const noexcept { return spares[which_] + kSpareSize; }

 private:
  size_t which_ = 0;
};

/// Whether the alternate stack, if it is what we run on, is too small for us.
bool is_cramped(const stack_t& alternate) noexcept {
  const auto room =
      reinterpret_cast<uintptr_t>(__builtin_frame_address(0)) - reinterpret_cast<uintptr_t>(alternate.ss_sp);
  return room < alternate.ss_size && room < kEnough;
}

struct Fault {
  uintptr_t address;
  const ucontext_t* context;
  bool settled = false;  // the instruction may be repeated

  [[nodiscard]] report::Access access() const noexcept {
    constexpr uintptr_t kPageFault = 14, kWrite = 2, kFetch = 16;
    if (context::at(context, REG_TRAPNO) != kPageFault) return report::Access::unknown;
    const uintptr_t error = context::at(context, REG_ERR);
    return (error & kFetch) != 0   ? report::Access::execute
           : (error & kWrite) != 0 ? report::Access::write
                                   : report::Access::read;
  }
};

/// Whether an access that should have worked is to be tried again, because another thread may have opened the page
/// after it failed. Once: should the same thread come back with the same, it is something else.
bool worth_repeating(const Fault& fault) noexcept {
  static constinit std::atomic<uint64_t> repeated[16]{};
  const auto thread = scramble(cpu::thread_pointer());
  const uint64_t that = scramble(thread ^ scramble(fault.address ^ scramble(context::instruction(fault.context))));
  auto& last = repeated[thread % 16];
  if (last.exchange(that) != that) return true;
  last = 0;
  return false;
}

report::Error error_of(tracked_alloc::Finding finding) noexcept {
  using tracked_alloc::Finding, report::Error;
  return finding == Finding::use_after_free ? Error::use_after_free
         : finding == Finding::overflow     ? Error::overflow
         : finding == Finding::underflow    ? Error::underflow
                                            : Error::wild_access;
}

void look_into(void* given) noexcept {
  using tracked_alloc::Finding;
  auto& fault = *static_cast<Fault*>(given);
  const bool executes = fault.access() == report::Access::execute;  // which no page of ours allows
  const tracked_alloc::Verdict verdict = tracked_alloc::judge_access(fault.address);
  if (verdict.finding == Finding::not_ours) return;
  if (verdict.finding == Finding::open) {
    fault.settled = !executes && (tracked_alloc::reopen(fault.address) || worth_repeating(fault));
    return;
  }
  report::tell({.error = error_of(verdict.finding),
                .access = fault.access(),
                .address = fault.address,
                .block = verdict.finding == Finding::wild ? nullptr : &verdict.block,
                .context = fault.context});
  if (options.on_error.load(std::memory_order_relaxed) != OnError::go_on) return;
  const bool opened = tracked_alloc::let_through(fault.address);
  const bool known = tracked_alloc::judge_access(fault.address).finding == Finding::open;  // or another was faster
  fault.settled = executes ? known : opened || known;  // else it would never come to an end
}

[[gnu::noinline]] bool settle(uintptr_t address, const ucontext_t* context) noexcept {
  Fault fault{address, context};
  const Spare spare;
  // On the spare stack no handler may run: the kernel would take it for the thread's own, and begin the alternate stack
  // anew where frames of ours are.
  uint64_t blocked = 0;
  const bool quiet = spare && may_ask() && sys::block_every_signal(blocked);
  const bool cramped = is_cramped(context->uc_stack);
  if (quiet || (cramped && spare))
    poireau_on_stack(spare.top(), look_into, &fault);
  else if (!cramped)
    look_into(&fault);
  if (quiet) sys::set_blocked_signals(blocked);
  return fault.settled;
}

/// The default action, with the registers and the siginfo_t that it would have had: it comes when the handler returns.
[[gnu::noinline]] void die(int number, siginfo_t* info, ucontext_t* context, bool forced) noexcept {
  if (!forced && may_ask() && sys::process_id() == 1) return;  // which the kernel spares
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  const bool repeats = forced && !may_ask();
  if (!repeats && real.sigaction(number, &action, nullptr) == 0 && sys::send_again(number, info)) return;
  context->uc_sigmask.__val[0] |= sys::signal_bit(number);  // so that the fault, repeated, kills
}

}  // namespace

bool be_armed() noexcept {
  if (!options.fault_handler.load(std::memory_order_relaxed)) return true;
  if (state != State::apart) return state == State::armed;
  if (!may_arm() || in_borrowed_memory()) return false;
  state = arm(SIGSEGV) && arm(SIGBUS) ? State::armed : State::refused;
  return armed();
}

bool armed() noexcept { return state == State::armed; }

void expect_guards() noexcept {
  if (!options.fault_handler.load(std::memory_order_relaxed)) return;
  expecting = true;
  if (!may_ask()) return;
  static_cast<void>(in_borrowed_memory());
  sys::unblock_signals(sys::signal_bit(SIGSEGV) | sys::signal_bit(SIGBUS));
}

void saw_sigaction_work() noexcept { sigaction_works.store(true, std::memory_order_relaxed); }

bool expected() noexcept { return expecting.load(std::memory_order_relaxed); }

void forked() noexcept {
  if (expected()) static_cast<void>(in_borrowed_memory());
}

int change(int number, const struct sigaction* action, struct sigaction* old) noexcept {
  Shadow& shadow = shadow_of(number);
  struct sigaction before;
  const bool borrowed = in_borrowed_memory();
  if (armed() && !borrowed && action != nullptr) {
    const Disposition wanted = Disposition::of(*action), was = shadow.exchange(wanted);
    if (!put_in_front(number, &before)) {
      shadow.replace(wanted, was);
      return -1;
    }
    if (is_ours(before)) was.show(before);
  } else {
    if (real.sigaction(number, action, &before) != 0) return -1;
    if (is_ours(before)) {
      const bool replaced = action != nullptr && !borrowed;  // our handler came in this very moment
      (replaced ? shadow.exchange(Disposition::of(*action)) : shadow.get()).show(before);
      if (replaced) put_in_front(number, nullptr);
    }
  }
  if (old != nullptr) *old = before;
  return 0;
}

}  // namespace poireau::faults

using namespace poireau;

/// What is to run; nullptr: all is done.
Handler poireau_behind_ours(int number, siginfo_t* info, ucontext_t* context) noexcept {
  using namespace faults;
  const bool forced = info->si_code > 0 && !(number == SIGBUS && info->si_code == BUS_MCEERR_AO);
  const int error = errno;
  if (forced && tracked_alloc::owns(info->si_addr)) [[unlikely]] {
    const bool settled = settle(reinterpret_cast<uintptr_t>(info->si_addr), context);
    errno = error;
    if (settled) return nullptr;
  }
  const Disposition behind = shadow_of(number).take();
  if (behind.calls()) return behind.handler();
  if (forced || !behind.is(SIG_IGN)) die(number, info, context, forced);
  errno = error;
  return nullptr;
}

__asm__(R"(
  .pushsection .text.poireau_on_signal, "ax", @progbits
  .hidden poireau_on_signal
  .globl poireau_on_signal
  .type poireau_on_signal, @function
poireau_on_signal:
  .cfi_startproc
  sub $24, %rsp
  .cfi_adjust_cfa_offset 24
  mov %rdi, (%rsp)
  mov %rsi, 8(%rsp)
  mov %rdx, 16(%rsp)
  call poireau_behind_ours
  mov (%rsp), %rdi
  mov 8(%rsp), %rsi
  mov 16(%rsp), %rdx
  add $24, %rsp
  .cfi_adjust_cfa_offset -24
  mov %rax, %r11
  xor %eax, %eax
  test %r11, %r11
  jz 1f
  jmp *%r11
1:
  ret
  .cfi_endproc
  .size poireau_on_signal, . - poireau_on_signal
  .popsection

  // To unwinders a signal's frame, since only those are expected to change the stack.
  .pushsection .text.poireau_on_stack, "ax", @progbits
  .hidden poireau_on_stack
  .globl poireau_on_stack
  .type poireau_on_stack, @function
poireau_on_stack:
  .cfi_startproc
  .cfi_signal_frame
  push %rbp
  .cfi_adjust_cfa_offset 8
  .cfi_rel_offset %rbp, 0
  mov %rsp, %rbp
  .cfi_def_cfa_register %rbp
  mov %rdi, %rsp
  mov %rdx, %rdi
  call *%rsi
  mov %rbp, %rsp
  .cfi_def_cfa_register %rsp
  pop %rbp
  .cfi_adjust_cfa_offset -8
  .cfi_restore %rbp
  ret
  .cfi_endproc
  .size poireau_on_stack, . - poireau_on_stack
  .popsection
)");
