#include <iterator>
#include <string_view>

#include "preload/base/sys.h"
#include "preload/faults.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/protect_parts.h"
#include "preload/real.h"
#include "preload/sampled_blocks.h"
#include "preload/sampled_remapped.h"
#include "preload/sandbox.h"
#include "preload/stop.h"
#include "preload/voice.h"

/// How protection begins, and what it has to work with.
namespace poireau::protect {
namespace {

constexpr std::string_view kReasons[] = {"of their size",
                                         "there is no more memory for them",
                                         "their addresses are used up",
                                         "the program needs the mappings that are left",
                                         "somebody else is at work on them",
                                         "a sandbox forbids system calls"};
static_assert(std::size(kReasons) == static_cast<size_t>(remap::Refusal::kinds));

/// The first time each.
void say_refused(remap::Refusal why) noexcept {
  if (value(options.log) == LogLevel::off || why == remap::Refusal::size || why == remap::Refusal::busy) return;
  Text text = voice::line();
  text << (protects_all() ? "some blocks are not protected: " : "some samples live in slots: ")
       << kReasons[static_cast<size_t>(why)];
  voice::say(text.view());
}

std::string_view say_why_not() noexcept {
  if (sandbox::state() != sandbox::State::open) return "a sandbox forbids system calls";
  sampled::prepare_homes();
  if (!tracked_alloc::begun()) return "there are no homes";
  if (!faults::be_armed()) return "faults can't be handled";
  return {};
}

remap::Dump wanted_dump() noexcept {
  switch (value(options.core)) {
    case Core::include:
      return remap::Dump::blocks;
    case Core::once:
      return remap::Dump::arena;
    case Core::exclude:
      break;
  }
  return remap::Dump::none;
}

remap::Engine wanted_engine() noexcept {
  switch (value(options.guard_mechanism)) {
    case GuardMechanism::automatic:
      return remap::Engine::automatic;
    case GuardMechanism::userfaultfd:
      return remap::Engine::userfaultfd;
    case GuardMechanism::markers:
      return remap::Engine::markers;
    case GuardMechanism::mprotect:
    case GuardMechanism::none:
      break;
  }
  return remap::Engine::none;
}

}  // namespace

void arm() noexcept {
  const bool all = options.protect.beyond_samples();
  if (armed() || sampled::dormant() || !(all || sampled::remapped::wanted())) return;
  std::string_view why_not = say_why_not();
  if (why_not.empty()) {
    stop::prepare();
    const bool begun = remap::begin(
        {.engine = wanted_engine(), .seed = process::next_seed(), .dump = wanted_dump(), .refused = say_refused});
    if (!begun && !all) why_not = "there can be no remapped homes here";
    if (!begun && all && tracked_alloc::mechanism() == tracked_alloc::pages::Mechanism::none)
      why_not = "there are neither remapped homes here nor guard pages";
    moves_in = map_of(next.malloc_usable_size) == map_of(next.realloc);
  }
  if (!why_not.empty()) {
    if (value(options.log) != LogLevel::off)
      voice::say((voice::line() << (all ? "blocks that are not sampled are not protected: " : "samples live in slots: ")
                                << why_not)
                     .view());
    return;
  }
  stacks.begin();
  closings.begin();
  is_armed.store(true, std::memory_order_release);
}

std::string_view engine() noexcept {
  if (!armed()) return "none";
  if (!remap::begun()) return "guards";
  constexpr std::string_view kNames[] = {"runs", "userfaultfd", "markers", "runs"};
  return kNames[static_cast<size_t>(remap::engine())];
}

}  // namespace poireau::protect
