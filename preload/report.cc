#include "preload/report.h"

#include <atomic>
#include <cstdlib>
#include <iterator>

#include "config/options.h"
#include "preload/base/context_x86_64.h"
#include "preload/base/random.h"
#include "preload/base/text.h"
#include "preload/depot.h"
#include "preload/journal.h"
#include "preload/notes.h"
#include "preload/report_text.h"
#include "preload/stack.h"
#include "preload/voice.h"

namespace poireau::report {
namespace {

constexpr size_t kShownFrames = 64;

constinit std::atomic<uint64_t> met{0};

enum class News { fresh, known, too_many };

/// Keeps the error's mark, unless it is kept already.
News note(uint64_t mark) noexcept {
  [[gnu::section(".lbss")]] static constinit std::atomic<uint64_t> marks[1024];
  constexpr size_t kLongestSearch = 64;
  for (size_t step = 0; step < kLongestSearch; ++step) {
    auto& place = marks[(mark + step) % std::size(marks)];
    uint64_t there = place.load(std::memory_order_relaxed);
    if (there == 0 && place.compare_exchange_strong(there, mark, std::memory_order_relaxed)) return News::fresh;
    if (there == mark) return News::known;
  }
  return News::too_many;
}

/// Where the error is made: what was found later was not done by who found it, so there its block counts.
uint64_t mark_of(const Report& report, Frames frames) noexcept {
  if (report.block != nullptr && (frames.empty() || moment_of(report.error) == Moment::later))
    if (const Frames born = depot::frames_of(report.block->birth.stack); !born.empty()) frames = born;
  uint64_t mark = scramble(static_cast<uint64_t>(report.error) + 1);
  if (frames.empty()) mark = scramble(mark ^ (report.context == nullptr ? 0 : context::instruction(report.context)));
  for (const uintptr_t frame : frames) mark = scramble(mark ^ frame);
  return mark | 1;
}

[[gnu::cold, gnu::noinline]] void say_once_that_it_is_enough() noexcept {
  static constinit std::atomic<bool> said{false};
  if (options.log.load(std::memory_order_relaxed) == LogLevel::off) return;
  if (said.exchange(true, std::memory_order_relaxed)) return;
  Text text = voice::line();
  text << "errors in too many places to tell them apart: further ones are only counted";
  voice::say(text.view());
}

}  // namespace

void tell(const Report& given) noexcept {
  Report report = given;
  tracked_alloc::Block remapped{};
  if (given.block != nullptr && tracked_alloc::remap::owns(given.block->address)) {
    remapped = *given.block;
    notes::look_up(remapped);
    report.block = &remapped;
  }
  met.fetch_add(1, std::memory_order_relaxed);
  const OnError then = options.on_error.load(std::memory_order_relaxed);
  const bool last_words = then == OnError::abort;
  uintptr_t room[kShownFrames];
  const Frames frames(room, report.context != nullptr ? stack::capture_from(report.context, room)
                                                      : stack::capture(room, report.caller));
  // An event has return addresses: who reads it goes back into the call. So of an instruction it has the next byte;
  // where nothing could be executed, there is none.
  const bool interrupted = report.context != nullptr && report.access != Access::execute && !frames.empty();
  switch (last_words ? News::fresh : note(mark_of(report, frames))) {
    case News::fresh:
      room[0] += interrupted;
      journal::erred({.error = title_of(report),
                      .function = report.function,
                      .address = report.address,
                      .block = report.block != nullptr ? report.block->address : 0,
                      .size = report.block != nullptr ? report.block->size : 0,
                      .frames = frames});
      room[0] -= interrupted;
      if (last_words || options.log.load(std::memory_order_relaxed) != LogLevel::off) write(report, frames, then);
      break;
    case News::known:
      break;
    case News::too_many:
      say_once_that_it_is_enough();
      break;
  }
  if (last_words) std::abort();
}

uint64_t errors() noexcept { return met.load(std::memory_order_relaxed); }

}  // namespace poireau::report
