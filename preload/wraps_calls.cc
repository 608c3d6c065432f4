#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <iterator>
#include <string_view>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/calls.h"
#include "preload/module.h"
#include "preload/pieces.h"
#include "preload/pools.h"
#include "preload/protect.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"
#include "preload/stats.h"
#include "preload/stop.h"
#include "preload/wraps.h"
#include "tracked_alloc/remap.h"
#include "tracked_alloc/tracked_alloc.h"
#include "tracked_alloc/verdict.h"

// Where the program itself would fault on a home, the kernel fails with EFAULT and nobody hears of it. So calls that
// give the kernel memory are looked at when they have failed like that: which of the memory was it? Where every block
// is protected, freed ones may be readable for a while: there they are looked at before, too. Most calls wait, and are
// left by cancellation and by forced unwinding; nothing here minds.

using namespace poireau;
using calls::Piece, calls::Use;
using wraps::Watching;
namespace remap = tracked_alloc::remap;

extern "C" {
/// What the stub of a function found: its arguments as registers and the stack hold them.
struct Frame {
  uint64_t registers[6];
  const void* caller;
  uint64_t seventh;
};
[[gnu::visibility("hidden")]] int64_t poireau_look_at_call(const Frame& frame, size_t number);
/// Set once. Not an atomic, which would cost the way past us an instruction.
[[gnu::visibility("hidden")]] constinit Watching poireau_watching = Watching::unknown;
}

namespace {

constexpr uintptr_t kPage = 4096, kEndOfUserSpace = uintptr_t{1} << 47;
constexpr int kMostRepeats = 2 * 1024;  // an array may have 1024 parts, each with its own bad page

struct Looked {
  size_t number;
  const calls::Words& words;
  const void* caller;
};

report::Error error_of(tracked_alloc::Finding finding) {
  switch (finding) {
    case tracked_alloc::Finding::use_after_free:
      return report::Error::use_after_free;
    case tracked_alloc::Finding::overflow:
      return report::Error::overflow;
    case tracked_alloc::Finding::underflow:
      return report::Error::underflow;
    default:
      return report::Error::wild_access;
  }
}

[[gnu::noinline]] void tell(const Looked& call, const Piece& piece, report::Error error,
                            const tracked_alloc::Block* block) {
  report::tell({.error = error,
                .access = !piece.certain            ? report::Access::unknown
                          : piece.use == Use::given ? report::Access::read
                                                    : report::Access::write,
                .address = piece.address,
                .block = block,
                .function = calls::name_of(call.number),
                .caller = call.caller});
}

bool goes_on() { return options.on_error.load(std::memory_order_relaxed) == OnError::go_on; }

/// The first byte of a piece that is in the way of a call; address 0: none is.
Piece find_obstacle(const Looked& call) {
  Piece found{};
  calls::for_each_piece(calls::describe(call.number), call.words,
                        {&found, [](void* to, const Piece& piece) noexcept {
                           uintptr_t address = piece.address;
                           if (piece.size > kEndOfUserSpace || address > kEndOfUserSpace - piece.size)
                             return false;  // refused as such
                           for (const uintptr_t end = address + piece.size; address < end;
                                address = (address | (kPage - 1)) + 1) {
                             if (!tracked_alloc::owns(reinterpret_cast<const void*>(address))) return false;
                             const tracked_alloc::Finding finding = tracked_alloc::judge_access(address).finding;
                             if (finding == tracked_alloc::Finding::not_ours) return false;
                             if (finding == tracked_alloc::Finding::open) continue;
                             *static_cast<Piece*>(to) = {address, 1, piece.use, piece.certain};
                             return true;
                           }
                           return false;
                         }});
  return found;
}

/// Reports it, and puts it out of the way if that is wanted. True: nothing was lost, the call may be repeated.
[[gnu::noinline]] bool overcome(const Looked& call, const Piece& obstacle) {
  using enum tracked_alloc::Finding;
  const tracked_alloc::Verdict verdict = tracked_alloc::judge_access(obstacle.address);
  if (verdict.finding == not_ours || verdict.finding == open) return true;  // another thread was faster
  tell(call, obstacle, error_of(verdict.finding), verdict.finding == wild ? nullptr : &verdict.block);
  if (!goes_on() || !tracked_alloc::let_through(obstacle.address)) return false;
  return obstacle.use == Use::given || obstacle.use == Use::told ||
         (obstacle.use == Use::filled && sandbox::state() == sandbox::State::open &&
          sys::reads_again(static_cast<int>(call.words[0])));
}

/// False: what is there is not freed, or nobody knows of it.
bool freed_block_at(uintptr_t address, tracked_alloc::Block& out) {
  if (const pools::Object object = pools::find(address); object.address != 0 && !object.live) {
    out = calls::block_of(object);
    return true;
  }
  if (!tracked_alloc::owns(reinterpret_cast<const void*>(address))) return false;
  if (remap::owns(address)) {  // it may be readable still
    const remap::Answer answer = remap::find(address);
    if (answer.found != remap::Answer::Found::dead) return false;
    out = protect::describe(answer.block);
    return true;
  }
  const tracked_alloc::Verdict verdict = tracked_alloc::judge_access(address);
  out = verdict.block;
  return verdict.finding == tracked_alloc::Finding::use_after_free;
}

/// Looks at a piece before the call: is it in a block that has been freed?
void look_ahead(const Looked& call, const Piece& piece) {
  using Kind = decltype(POIREAU_POINTERS);
  const void* const at = reinterpret_cast<const void*>(piece.address);
  Kind kind = POIREAU_POINTER_HOME;
  if (!tracked_alloc::owns(at)) {
    if (!piece.certain) return;
    kind = calls::on_stack(piece.address) ? POIREAU_POINTER_STACK
           : module_of(at).map != nullptr ? POIREAU_POINTER_DATA
                                          : POIREAU_POINTER_HEAP;
  }
  stats.pointers[kind].fetch_add(1, std::memory_order_relaxed);
  tracked_alloc::Block block;
  if (!freed_block_at(piece.address, block)) return;
  tell(call, piece, report::Error::use_after_free, &block);
  if (goes_on()) static_cast<void>(tracked_alloc::let_through(piece.address));
}

void look_ahead(const Looked& call) {
  const int error = errno;
  calls::for_each_piece(calls::describe(call.number), call.words,
                        {const_cast<Looked*>(&call), [](void* of, const Piece& piece) noexcept {
                           look_ahead(*static_cast<const Looked*>(of), piece);
                           return false;
                         }});
  errno = error;
}

/// The signal that holds threads is never blocked, and nobody waits for it. `copy` is then the set that the call has.
void keep_signal(const calls::Call& call, calls::Words& words, sigset_t& copy) {
  if (stop::signal_number() == 0) return;
  const uint64_t ours = sys::signal_bit(stop::signal_number());
  for (const calls::Memory& memory : call.memory) {
    uint64_t& word = words[memory.at];
    const auto* const set = reinterpret_cast<const sigset_t*>(word);
    if (memory.shape != calls::Shape::mask || set == nullptr) continue;
    if (!calls::on_stack(word) && !sys::readable(set)) continue;
    if ((set->__val[0] & ours) == 0) continue;
    copy = {{set->__val[0] & ~ours}};  // the kernel knows no more of them
    word = reinterpret_cast<uint64_t>(&copy);
  }
}

constexpr size_t number_of(std::string_view wanted) {
  size_t number = 0;
#define CALL(name, ...)               \
  if (wanted == #name) return number; \
  ++number;
#include "preload/syscalls.def"
#undef CALL
  return number;
}

void look_at_signal_stack(const calls::Words& words) {
  const auto* const stack = reinterpret_cast<const stack_t*>(words[0]);
  if (stack != nullptr && (calls::on_stack(words[0]) || sys::readable(stack))) stop::meet_signal_stack(stack->ss_size);
}

int64_t nothing_there(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t) {
  errno = ENOSYS;
  return -1;
}

}  // namespace

void wraps::complete_calls() noexcept {
  calls::resolve();
  for (calls::Function& function : poireau_calls)
    if (function == nullptr) function = nothing_there;
}
void wraps::watch_calls(Watching how) noexcept { poireau_watching = how; }

/// A call of the program's, which is made until nothing that we could move is in its way.
int64_t poireau_look_at_call(const Frame& frame, size_t number) {
  // Any call may be the first that this library sees.
  if (poireau_watching == Watching::unknown) lifecycle::start();
  const bool raw = number >= calls::kRaw;  // its number is in the first register, the others are one further
  number %= calls::kRaw;
  const auto& [a, b, c, d, e, f] = frame.registers;
  calls::Words words = {a, b, c, d, e, f, frame.seventh};
  if (raw) std::copy(words + 1, std::end(words), words);
  const Looked call{number, words, frame.caller};
  if (poireau_watching == Watching::all) look_ahead(call);
  sigset_t copy;
  if (poireau_watching != Watching::none) keep_signal(calls::describe(number), words, copy);
  static constexpr size_t kSigaltstack = number_of("sigaltstack");
  if (number == kSigaltstack && poireau_watching != Watching::none) look_at_signal_stack(words);
  const int error_before = errno;
  for (int repeats = 0;; ++repeats) {
    const int64_t got =
        raw ? as<calls::Function>(real.syscall)(a, words[0], words[1], words[2], words[3], words[4], words[5])
            : poireau_calls[number](words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    // Some have an int for result. None has moved 4 GiB: the kernel stops at 2.
    if (got == 0 ? !calls::describe(number).null_fails : static_cast<int>(got) != -1) {
      if (repeats != 0) errno = error_before;
      return got;
    }
    if (poireau_watching < Watching::failures || errno != EFAULT) return got;
    const Piece obstacle = find_obstacle(call);
    const bool again = obstacle.address != 0 && repeats < kMostRepeats && overcome(call, obstacle);
    errno = EFAULT;
    if (!again) return got;
  }
}

// Each function's own part: the caller's address stays on top of the stack, and no register is touched, whatever the
// function takes.
__asm__(R"(
  .pushsection .text.poireau_calls, "ax", @progbits
  .cfi_startproc
  .set call_number, 0
  .macro CALL name
  .globl \name
  .type \name, @function
\name:
  cmpb $0, poireau_watching(%rip)
  jne 1f
  jmp *poireau_calls + 8 * call_number(%rip)
1:
  mov $call_number, %eax
  jmp poireau_look
  .size \name, . - \name
  .set call_number, call_number + 1
  .endm
)"
#define CALL(name, ...) "CALL " #name "\n"
#include "preload/syscalls.def"
#undef CALL
        R"(
  .cfi_endproc
  .purgem CALL
  .globl poireau_look
  .hidden poireau_look
  .type poireau_look, @function
poireau_look:
  .cfi_startproc
  push %r9
  push %r8
  push %rcx
  push %rdx
  push %rsi
  push %rdi
  mov %rsp, %rdi
  mov %eax, %esi
  sub $8, %rsp
  .cfi_adjust_cfa_offset 56
  call poireau_look_at_call
  add $56, %rsp
  .cfi_adjust_cfa_offset -56
  ret
  .cfi_endproc
  .size poireau_look, . - poireau_look
  .popsection
)");
