#include <dlfcn.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <atomic>

#include "config/load.h"
#include "config/options.h"
#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/clock.h"
#include "preload/control.h"
#include "preload/faults.h"
#include "preload/fork_copy.h"
#include "preload/governor.h"
#include "preload/hooks.h"
#include "preload/introduction.h"
#include "preload/journal.h"
#include "preload/module.h"
#include "preload/operators.h"
#include "preload/process.h"
#include "preload/protect.h"
#include "preload/protection.h"
#include "preload/real.h"
#include "preload/report.h"
#include "preload/sampled.h"
#include "preload/sandbox.h"
#include "preload/sink.h"
#include "preload/stack.h"
#include "preload/stats.h"
#include "preload/trace.h"
#include "preload/trace_place.h"
#include "preload/voice.h"
#include "preload/wraps.h"
#include "tracked_alloc/homes.h"
#include "tracked_alloc/tracked_alloc.h"

#ifndef POIREAU_VERSION
#error "the build defines POIREAU_VERSION"
#endif

extern "C" {
// Runtimes that live on ideas of their own about memory and signals; each has one of these where it is linked in.
[[gnu::weak]] void _cgo_topofstack();
[[gnu::weak]] void JLI_Launch();
[[gnu::weak]] void JNI_CreateJavaVM();
}

namespace poireau::lifecycle {
namespace {

enum class Phase { untouched, resolving, resolved, configuring, done };
constinit std::atomic<Phase> phase{Phase::untouched};

bool advance(Phase from, Phase to) noexcept { return phase.compare_exchange_strong(from, to); }

/// Blocks that are not sampled are protected from here on, if they are to be. Where we are part of the program, as soon
/// as libc is all there.
void protect_all() noexcept {
  protect::arm();
  if (!protect::protects_all()) return;
  hooks::protect(true);
  operators::protect(true);
}

void watch_calls() noexcept {
  using enum wraps::Watching;
  const SyscallCheck check = options.syscall_check.load(std::memory_order_relaxed);
  if (sampled::dormant())
    wraps::watch_calls(none);
  else if (protect::protects_all() || (protect::armed() && check == SyscallCheck::on))
    wraps::watch_calls(check == SyscallCheck::off ? passing : all);
  else
    wraps::watch_calls(check == SyscallCheck::on ? failures : none);
}

/// Why this process is not to be sampled; empty: it is.
std::string_view reason_to_sleep(bool secure) noexcept {
  if (secure) return "the program runs with other rights than its user's";
  if (const std::string_view other = malloc_of_another(); !other.empty()) return other;
  const std::string_view program = process::program(), called_as = process::called_as();
  if (options.runtimes.load(std::memory_order_relaxed) == Runtimes::step_aside) {
    if (_cgo_topofstack != nullptr) return "the program is written in Go (set runtimes = sample to sample it)";
    if (JLI_Launch != nullptr || JNI_CreateJavaVM != nullptr)
      return "this is Java (set runtimes = sample to sample it)";
    if (program.starts_with("wine")) return "this is Wine (set runtimes = sample to sample it)";
  }
  const bool among =
      config::names_match(options.only.view(), program) || config::names_match(options.only.view(), called_as);
  if (!options.only.view().empty() && !among) return "the program is not among those of the option only";
  if (config::names_match(options.exclude.view(), program) || config::names_match(options.exclude.view(), called_as))
    return "the program is excluded";
  return {};
}

LogLevel log_level() noexcept { return options.log.load(std::memory_order_relaxed); }

/// Standard error as it was at load: a daemon may have put a file of its own there since.
constinit sys::FileInfo standard_error{};

bool in_the_open() noexcept { return sandbox::state() == sandbox::State::open; }

void introduce(std::string_view sleeping) noexcept {
  sampled::prepare_homes();
  Text text = voice::line();
  const std::string_view allocator = base_name(module_of(reinterpret_cast<const void*>(next.malloc)).path);
  text << "version " POIREAU_VERSION ", over " << (allocator.empty() ? "the program's own libc" : allocator) << ", ";
  if (sleeping.empty())
    governor::describe(text);
  else
    text << "not sampling: " << sleeping;
  if (tracked_alloc::begun())
    text << ", stacks by " << stack::unwinder() << ", guards by "
         << std::string_view(tracked_alloc::pages::name_of(tracked_alloc::mechanism()));
  if (protect::armed())
    text << (protect::protects_all() ? ", protecting all by " : ", samples remapped by ") << protect::engine();
  if (!in_the_open()) text << "; in a seccomp sandbox";
  voice::say(text.view());
}

void configure() noexcept {
  const bool secure = getauxval(AT_SECURE) != 0;
  sandbox::look();
  if (!secure && sandbox::state() != sandbox::State::strict) config::load(environ, voice::say);
  process::begin();
  clock::begin();
  governor::begin();
  const std::string_view sleeping = reason_to_sleep(secure);
  if (!sleeping.empty())
    sampled::set_dormant();
  else if (governor::guard() != kGuardOff || options.protect.beyond_samples() ||
           options.placement.load(std::memory_order_relaxed) == Placement::remap)
    faults::expect_guards();
  if (!secure) trace::look_at_environment(environ);
  journal::set_allocator(module_of(reinterpret_cast<const void*>(next.malloc)).path);
  if (sleeping.empty()) control::begin();
  if (!linked_in()) sampled::allow_homes();
  hooks::route();
  operators::classify();
  if (!linked_in()) protect_all();
  watch_calls();
  if (log_level() >= LogLevel::info) introduce(sleeping);
  if (log_level() >= LogLevel::info && in_the_open() && !sys::file_info(STDERR_FILENO, standard_error))
    standard_error = {};
}

void before_fork() noexcept {
  process::about_to_fork();
  fork_copy::before();
}

void in_fork_child() noexcept {
  // Another thread may have been on the way, and is gone.
  advance(Phase::resolving, Phase::untouched);
  advance(Phase::configuring, Phase::resolved);
  if (process::forked()) sampled::forked();
  sampler.restart(process::next_seed());
  faults::forked();
}

[[gnu::constructor]] void load() noexcept {
  start();
  sampled::allow_homes();
  if (linked_in()) {
    protect_all();
    watch_calls();
  }
  if (!sampled::dormant()) {
    // What loads a library does so here, not in the middle of some malloc.
    if (options.unwinder.load(std::memory_order_relaxed) == Unwinder::libunwind) sampled::prepare_homes();
    sink::begin();
  }
  pthread_atfork(before_fork, fork_copy::in_parent, in_fork_child);
}

[[gnu::noinline]] void say_where_the_trace_is() noexcept {
  if (const std::string_view where = trace::directory(); !where.empty())
    voice::say((voice::line() << "trace in " << where).view());
}

[[gnu::destructor]] void unload() noexcept {
  if (!sampled::dormant()) {
    sampled::notice_fork();
    sampled::check_all();
    journal::finish();
  }
  if (log_level() < LogLevel::info || sampled::dormant() || !in_the_open()) return;
  sys::FileInfo now;
  if (!sys::file_info(STDERR_FILENO, now) || now.device != standard_error.device || now.inode != standard_error.inode)
    return;
  say_protection();
  if (log_level() < LogLevel::debug) return;
  Text text = voice::line();
  text << stats.samples.load(std::memory_order_relaxed) << " samples, "
       << stats.sampled_bytes.load(std::memory_order_relaxed) << " bytes in them, "
       << stats.counted_bytes.load(std::memory_order_relaxed) << " bytes counted, "
       << stats.dropped.load(std::memory_order_relaxed) << " dropped, " << stats.early.load(std::memory_order_relaxed)
       << " early";
  voice::say(text.view());
  say_where_the_trace_is();
}

}  // namespace

sampled::Way start() noexcept {
  using enum sampled::Way;
  if (advance(Phase::untouched, Phase::resolving)) {
    resolve();
    hooks::complete();
    operators::complete();
    wraps::complete_calls();
    gap_offset = cpu::offset_from_thread_pointer(&sampler);
    tracked_alloc::region_floor = tracked_alloc::kRegionFloor;
    phase = Phase::resolved;
  }
  if (phase == Phase::resolving) return early;  // another thread is at it
  // Before libc's own constructor there are no options to read.
  if (environ == nullptr) return pass;
  if (advance(Phase::resolved, Phase::configuring)) {
    configure();
    sampled::set_ready();
    phase = Phase::done;
  }
  return phase == Phase::done ? again : pass;
}

void be_resolved() noexcept {
  if (real.malloc == nullptr) [[unlikely]]
    start();
}

bool relocated() noexcept {
  static constinit const void* const volatile relocated_address = &phase;
  return relocated_address == &phase;  // the latter is counted from the instruction
}

}  // namespace poireau::lifecycle
