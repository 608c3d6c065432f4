#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"
#include "preload/wraps.h"
#include "tracked_alloc/tracked_alloc.h"
#include "tracked_alloc/verdict.h"

// Where the program itself would fault on a guarded home, the kernel fails with EFAULT and nobody hears of it. So the
// calls that give the kernel memory are looked at when they have failed like that, and not before: which of the memory
// was it? Most of them wait, and are left by cancellation and by forced unwinding; nothing here minds.

using namespace poireau;

namespace {

constexpr uintptr_t kPage = 4096, kEndOfUserSpace = uintptr_t{1} << 47;
constexpr int kMostRepeats = 2 * 1024;  // an array may have 1024 parts, each with its own bad page

enum class Watching : uint8_t { off, unknown, on };
/// Set once. Not an atomic, which would cost the way past us an instruction.
constinit Watching watching = Watching::unknown;

/// What the kernel does with memory it is given: reads it before anything has happened, fills it with what it then
/// considers read, or writes to it once all is done.
enum class Use : uint8_t { given, filled, answered };

/// An address in one of our homes that can't be accessed; 0: there is none.
struct Obstacle {
  uintptr_t address = 0;
  Use use = Use::given;
};
Obstacle operator|(Obstacle first, Obstacle second) { return first.address != 0 ? first : second; }

/// The first of all bytes given.
Obstacle scan(Use use, const void* memory, size_t size) {
  auto address = reinterpret_cast<uintptr_t>(memory);
  if (size > kEndOfUserSpace || address > kEndOfUserSpace - size) return {};  // refused as such, wherever it begins
  for (const uintptr_t end = address + size; address < end; address = (address | (kPage - 1)) + 1) {
    if (!tracked_alloc::owns(reinterpret_cast<const void*>(address))) return {};
    const tracked_alloc::Finding finding = tracked_alloc::judge_access(address).finding;
    if (finding == tracked_alloc::Finding::not_ours) return {};
    if (finding != tracked_alloc::Finding::open) return {address, use};
  }
  return {};
}

Obstacle look(Use use, const void* memory, size_t size) { return scan(use, memory, size); }
Obstacle look(Use use, const timespec* time) { return scan(use, time, sizeof *time); }

/// Whether we may read it. It may be what was wrong with the call, and not even be ours.
bool readable(const void* memory, size_t size) {
  if (sandbox::state() != sandbox::State::open) return false;  // we may not even ask
  auto address = reinterpret_cast<uintptr_t>(memory);
  for (const uintptr_t end = address + size; address < end; address = (address | (kPage - 1)) + 1)
    if (!sys::readable(reinterpret_cast<const void*>(address))) return false;
  return true;
}

Obstacle look(Use use, const iovec* parts, size_t count) {
  const std::span<const iovec> all(parts, std::min<size_t>(count, UIO_MAXIOV));
  Obstacle found = scan(Use::given, parts, all.size_bytes());
  if (found.address != 0 || !readable(parts, all.size_bytes())) return found;
  for (const iovec& part : all)
    if (found = scan(use, part.iov_base, part.iov_len); found.address != 0) break;
  return found;
}
Obstacle look(Use use, const iovec* parts, int count) { return look(use, parts, static_cast<size_t>(count)); }

/// The kernel looks at no more of a socket's name.
size_t name_size(socklen_t length) { return std::min<size_t>(length, sizeof(sockaddr_storage)); }

Obstacle look(Use use, const msghdr* message) {
  const Obstacle itself = scan(Use::given, message, sizeof *message);
  if (itself.address != 0 || !readable(message, sizeof *message)) return itself;
  const Use use_of_rest = use == Use::filled ? Use::answered : use;
  const Obstacle rest = scan(use_of_rest, message->msg_name, name_size(message->msg_namelen)) |
                        scan(use_of_rest, message->msg_control, message->msg_controllen);
  const Obstacle parts = look(use, message->msg_iov, message->msg_iovlen);
  return use == Use::filled ? parts | rest : rest | parts;
}

/// Only the first: where a later one is at fault, the call returns how many it got done.
Obstacle look(Use use, const mmsghdr* messages) { return look(use, &messages->msg_hdr); }

Obstacle look(Use use, const sockaddr* name, const socklen_t* length) {
  const Obstacle itself = scan(use, length, sizeof *length);
  return itself.address != 0 || !readable(length, sizeof *length) ? itself : scan(use, name, name_size(*length));
}

// The words of hooks.def.
[[gnu::always_inline]] inline Obstacle given(auto... memory) { return look(Use::given, memory...); }
[[gnu::always_inline]] inline Obstacle filled(auto... memory) { return look(Use::filled, memory...); }
[[gnu::always_inline]] inline Obstacle answered(auto... memory) { return look(Use::answered, memory...); }

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

#define ROW_allocate(...)
#define ROW_resize(...)
#define ROW_store(...)
#define ROW_release(...)
#define ROW_ask(...)
#define ROW_other(...)

/// The functions that are watched, in the order in which `real` has them.
enum class Row : uint8_t {
#define ROW_watch(name, ...) name,
#define LIBC_ROW(shape, library, ...) ROW_##shape(__VA_ARGS__)
#include "preload/rows.h"
#undef ROW_watch
};
static_assert(offsetof(Functions, __recvfrom_chk) - offsetof(Functions, read) ==
              static_cast<size_t>(Row::__recvfrom_chk) * sizeof(void*));

constexpr char kNames[] =
#define ROW_watch(name, ...) #name "\0"
#define LIBC_ROW(shape, library, ...) ROW_##shape(__VA_ARGS__)
#include "preload/rows.h"
#undef ROW_watch
    ;

/// The name that people know: not that of the compiler's checked form.
std::string_view name_of(Row row) {
  constexpr std::string_view kBefore = "__", kBehind = "_chk";
  const char* at = kNames;
  for (auto left = static_cast<int>(row); left > 0; --left) at += std::string_view(at).size() + 1;
  const std::string_view name(at);
  if (!name.starts_with(kBefore)) return name;
  return {name.data() + kBefore.size(), name.size() - kBefore.size() - kBehind.size()};
}

/// An argument as registers and the stack hold it. So all watched functions are alike, and need the rest but once: the
/// words they don't know of they don't look at.
struct Word {
  Word() = default;
  template <typename T>
  Word(T* pointer) : value(reinterpret_cast<uint64_t>(pointer)) {}
  template <std::integral T>
  Word(T number) : value(static_cast<uint64_t>(number)) {}
  template <typename T>
  operator T*() const {
    return reinterpret_cast<T*>(value);
  }
  template <std::integral T>
  operator T() const {
    return static_cast<T>(value);
  }

  uint64_t value = 0;
};
using Words = Word[7];
using Function = int64_t (*)(Word, Word, Word, Word, Word, Word, Word);

template <typename... Parameters, size_t... at>
[[gnu::always_inline]] inline Obstacle apply(Obstacle (*look)(Parameters...), const Words& words,
                                             std::index_sequence<at...>) {
  return look(static_cast<Parameters>(words[at])...);
}
template <typename... Parameters>
[[gnu::always_inline]] inline Obstacle apply(Obstacle (*look)(Parameters...), const Words& words) {
  return apply(look, words, std::index_sequence_for<Parameters...>());
}

/// What was in the way of a call.
[[gnu::noinline]] Obstacle find_obstacle(Row row, const Words& words) {
  switch (row) {
#define ROW_watch(name, result, parameters, arguments, memory, alignment) \
  case Row::name:                                                         \
    return apply(                                                         \
        +[] parameters { return memory; }, words);
#define LIBC_ROW(shape, library, ...) ROW_##shape(__VA_ARGS__)
#include "preload/rows.h"
#undef ROW_watch
  }
  return {};
}

/// Reports it, and puts it out of the way if that is wanted. True: nothing was lost, the call may be repeated.
[[gnu::noinline]] bool overcome(const Obstacle& obstacle, Row row, int file, const void* caller) {
  using enum tracked_alloc::Finding;
  const tracked_alloc::Verdict verdict = tracked_alloc::judge_access(obstacle.address);
  if (verdict.finding == not_ours || verdict.finding == open) return true;  // another thread was faster
  report::tell({.error = error_of(verdict.finding),
                .access = obstacle.use == Use::given ? report::Access::read : report::Access::write,
                .address = obstacle.address,
                .block = verdict.finding == wild ? nullptr : &verdict.block,
                .function = name_of(row),
                .caller = caller});
  if (options.on_error.load(std::memory_order_relaxed) != OnError::go_on) return false;
  if (!tracked_alloc::let_through(obstacle.address)) return false;
  return obstacle.use == Use::given ||
         (obstacle.use == Use::filled && sandbox::state() == sandbox::State::open && sys::reads_again(file));
}

/// A call of the program's, which is made until nothing that we could move is in its way.
[[gnu::noinline]] int64_t call(Row row, const Words& words, const void* caller) {
  // Any call may be the first that this library sees.
  if (watching == Watching::unknown) lifecycle::start();
  const int error_before = errno;
  for (int repeats = 0;; ++repeats) {
    const auto function = reinterpret_cast<const Function*>(&real.read)[static_cast<size_t>(row)];
    const int64_t got = function(words[0], words[1], words[2], words[3], words[4], words[5], words[6]);
    // Some have an int for result. None has moved 4 GiB: the kernel stops at 2.
    if (static_cast<int>(got) != -1) {
      if (repeats != 0) errno = error_before;
      return got;
    }
    if (watching != Watching::on || errno != EFAULT) return got;
    const Obstacle obstacle = find_obstacle(row, words);
    const bool again = obstacle.address != 0 && repeats < kMostRepeats && overcome(obstacle, row, words[0], caller);
    errno = EFAULT;
    if (!again) return got;
  }
}

[[gnu::cold, gnu::noinline]] int64_t looked_at(Word a, Word b, Word c, Word d, Word e, Row row) {
  return call(row, {a, b, c, d, e}, __builtin_return_address(0));
}
/// The same for those whose arguments leave no register for the row.
template <Row row, typename... Arguments>
[[gnu::cold, gnu::noinline]] int64_t looked_at_all(Arguments... arguments) {
  return call(row, {arguments...}, __builtin_return_address(0));
}

/// To be a jump, for the caller's address is on top of the stack.
template <Row row, typename Result, typename... Arguments>
[[gnu::always_inline]] inline Result look_at(Arguments... arguments) {
  if constexpr (sizeof...(arguments) > 5) {
    return looked_at_all<row>(arguments...);
  } else {
    const Word words[5] = {arguments...};
    return as<Result (*)(Word, Word, Word, Word, Word, Row)>(looked_at)(words[0], words[1], words[2], words[3],
                                                                        words[4], row);
  }
}

}  // namespace

void wraps::watch_calls(bool wanted) noexcept { watching = wanted ? Watching::on : Watching::off; }

extern "C" {
#define ARGUMENTS(...) __VA_ARGS__
#define ROW_watch(name, result, parameters, arguments, memory, alignment)         \
  [[gnu::visibility("default")]] result watched_##name parameters __asm__(#name); \
  result watched_##name parameters {                                              \
    if (watching != Watching::off) [[unlikely]]                                   \
      return look_at<Row::name, result>(ARGUMENTS arguments);                     \
    return real.name arguments;                                                   \
  }
#define LIBC_ROW(shape, library, ...) ROW_##shape(__VA_ARGS__)
#include "preload/rows.h"
}  // extern "C"
