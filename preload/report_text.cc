#include "preload/report_text.h"

#include <algorithm>
#include <array>

#include "config/options.h"
#include "preload/base/context_x86_64.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/clock.h"
#include "preload/depot.h"
#include "preload/governor.h"
#include "preload/module.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/thread.h"
#include "preload/voice.h"

namespace poireau::report {
namespace {

using tracked_alloc::Block;

constexpr size_t kShownBytes = 32;

bool in_the_open() noexcept { return sandbox::state() == sandbox::State::open; }

// Words.

struct Hex {
  uint64_t value;
  size_t digits = 1;  // at least
};
Text& operator<<(Text& text, Hex hex) noexcept {
  char digits[kMostDigits];
  const auto size = static_cast<size_t>(write_number(digits, hex.value, 16) - digits);
  return text << std::string_view("0000000000000000").substr(0, hex.digits > size ? hex.digits - size : 0)
              << std::string_view(digits, size);
}

struct Bytes {
  uint64_t count;
};
Text& operator<<(Text& text, Bytes bytes) noexcept {
  return text << bytes.count << (bytes.count == 1 ? " byte" : " bytes");
}

Text& operator<<(Text& text, const Block& block) noexcept {
  if (block.kind == kForgotten) return text << "a block freed long ago";
  return text << (block.live ? "a " : "a freed ") << block.size << "-byte block from "
              << name_of(static_cast<Kind>(block.kind));
}

/// "12 bytes into a freed 24-byte block from malloc"
struct Place {
  uintptr_t address;
  const Block* block;
};
Text& operator<<(Text& text, Place place) noexcept {
  if (place.block == nullptr) return text << "where no block is";
  const Block& block = *place.block;
  if (place.address < block.address)
    text << Bytes{block.address - place.address} << " before ";
  else if (place.address - block.address >= block.size)
    text << Bytes{place.address - block.address - block.size} << " after ";
  else
    text << Bytes{place.address - block.address} << " into ";
  return text << block;
}

/// "libfoo.so+0x1234"
struct Code {
  uintptr_t address;
};
Text& operator<<(Text& text, Code code) noexcept {
  const Module module = module_of(reinterpret_cast<const void*>(code.address));
  if (module.map == nullptr) return text << "0x" << Hex{code.address};
  return text << (module.path.empty() ? process::program() : base_name(module.path)) << "+0x"
              << Hex{code.address - module.base};
}

/// " 1.234 s ago"; nothing where the clock can't be asked.
struct Since {
  uint64_t ticks;
};
Text& operator<<(Text& text, Since since) noexcept {
  const uint64_t a_millisecond = clock::ticks_per_second() / 1000, now = clock::ticks();
  if (!in_the_open() || a_millisecond == 0) return text;
  const uint64_t milliseconds = (now - std::min(now, since.ticks)) / a_millisecond;
  const char decimals[] = {'.', static_cast<char>('0' + milliseconds / 100 % 10),
                           static_cast<char>('0' + milliseconds / 10 % 10), static_cast<char>('0' + milliseconds % 10)};
  return text << " " << milliseconds / 1000 << std::string_view(decimals, sizeof decimals) << " s ago";
}

constexpr std::string_view name_of(Access access) noexcept {
  switch (access) {
    case Access::read:
      return "read at";
    case Access::write:
      return "write at";
    case Access::execute:
      return "execute at";
    case Access::unknown:
      break;
  }
  return "access at";
}

// Lines. None inlined: each has a Text, and all of them together would be more stack than some threads have to spare.

/// Collects whole lines, to be written a few at a time: no line of two threads is ever mixed.
class Page {
 public:
  Page() = default;
  Page(const Page&) = delete;
  Page& operator=(const Page&) = delete;
  ~Page() { turn(); }
  void add(const Text& line) noexcept {
    const std::string_view text = line.view();
    if (text.size() >= data_.size() - size_) turn();
    std::copy(text.begin(), text.end(), data_.data() + size_);
    size_ += text.size();
    data_[size_++] = '\n';
  }

 private:
  void turn() noexcept {
    voice::say_lines({data_.data(), size_});
    size_ = 0;
  }

  std::array<char, 512> data_;  // more than any Text
  size_t size_ = 0;
};

[[gnu::noinline]] void add_headline(Page& page, const Report& report) noexcept {
  Text text = voice::line();
  text << title_of(report) << ": ";
  const Hex address{report.address};
  const Place place{report.address, report.block};
  switch (moment_of(report.error)) {
    case Moment::access:
      text << name_of(report.access) << " 0x" << address << ", " << place;
      if (!report.function.empty()) text << ", in " << report.function;
      break;
    case Moment::release:
      text << "0x" << address << ", ";
      if (report.block != nullptr && report.block->address == report.address)
        text << *report.block;
      else
        text << place;
      text << ", given to " << report.function;
      if (report.error == Error::wrong_size) text << " as " << Bytes{report.given_size};
      break;
    case Moment::later:
      text << Bytes{report.found.size()} << " changed from 0x" << address << ", " << place;
      if (!report.function.empty()) text << ", found by " << report.function;
      break;
  }
  page.add(text);
}

[[gnu::noinline]] void add_found(Page& page, std::span<const unsigned char> found) noexcept {
  Text text;
  text << "  found:";
  for (const unsigned char byte : found.first(std::min(found.size(), kShownBytes))) text << " " << Hex{byte, 2};
  if (found.size() > kShownBytes) text << " ...";
  page.add(text);
}

[[gnu::noinline]] void add_frame(Page& page, uintptr_t frame) noexcept {
  Text text;
  text << "    " << Code{frame};
  page.add(text);
}

void add_frames(Page& page, Frames frames) noexcept {
  for (const uintptr_t frame : frames) add_frame(page, frame);
}

[[gnu::noinline]] void add_thread(Page& page, std::string_view what, Frames frames) noexcept {
  Text text;
  text << "  " << what << "by thread " << thread_number();
  char name[16];
  if (in_the_open()) text << " \"" << sys::thread_name(name) << "\"";
  page.add(text << (frames.empty() ? "" : ":"));
}

[[gnu::noinline]] void add_event(Page& page, std::string_view what, uint64_t time, uint32_t thread,
                                 Frames frames) noexcept {
  Text text;
  text << "  " << what;
  if (time == 0)
    text << ", not sampled: when and by which thread is not known";
  else
    text << Since{time} << " by thread " << thread;
  page.add(text << (frames.empty() ? "" : ":"));
}

[[gnu::noinline]] void add_chance(Page& page, uint32_t guard_chance) noexcept {
  const uint64_t chance = uint64_t{guard_chance} + 1, of = ((uint64_t{1} << 32) + chance / 2) / chance;
  if (of == 1) return;
  Text text;
  text << "  guarded 1 in " << of << " of such blocks";
  page.add(text);
}

[[gnu::noinline]] void add_sampling(Page& page) noexcept {
  Text text;
  governor::describe(text << "  ");
  text << ", guards ";
  const uint64_t guard = governor::guard();
  if (guard != kGuardOff && guard <= kGuardMostRate)
    text << guard << " a second";
  else
    text << config::Guard::show(guard, text);  // one of its words
  page.add(text << (governor::rule_of_guards() == governor::Rule::pinned ? " (pinned)" : ""));
}

[[gnu::noinline]] void add_registers(Page& page, const void* context,
                                     std::span<const context::Register> some) noexcept {
  Text text;
  text << "   ";
  for (const auto& [name, which] : some) text << " " << name << "=" << Hex{context::at(context, which), 16};
  page.add(text);
}

[[gnu::noinline]] void add_line(Page& page, std::string_view line) noexcept {
  Text text;
  page.add(text << line);
}

std::string_view what_follows(const Report& report, OnError then) noexcept {
  if (then == OnError::abort) return "  aborting; on_error = continue would go on";
  if (then == OnError::report && report.context != nullptr)
    return "  the fault takes its course; on_error = continue would go on";
  return "  going on; on_error = abort would stop here";
}

}  // namespace

std::string_view title_of(const Report& report) noexcept {
  switch (report.error) {
    case Error::use_after_free:
      return "use after free";
    case Error::overflow:
      return "overflow";
    case Error::underflow:
      return "underflow";
    case Error::wild_access:
      return "wild access";
    case Error::double_free:
      return "double free";
    case Error::invalid_free:
      return "invalid free";
    case Error::resize_of_freed:
      return "resize of a freed block";
    case Error::wrong_function:
      return "mismatched release";
    case Error::wrong_size:
      return "wrong size";
    case Error::short_overflow:
      return report.address < report.block->address ? "short underflow" : "short overflow";
    case Error::write_after_free:
      return "write after free";
  }
  return "";
}

void write(const Report& report, Frames frames, OnError then) noexcept {
  constexpr size_t kRegistersALine = 4;
  Page page;
  add_headline(page, report);
  if (!report.found.empty()) add_found(page, report.found);
  add_thread(page, moment_of(report.error) == Moment::later ? "found " : "", frames);
  add_frames(page, frames);
  if (const Block* const block = report.block; block != nullptr) {
    const Frames born = depot::frames_of(block->birth.stack), died = depot::frames_of(block->death.stack);
    add_event(page, "allocated", block->birth.time, block->birth.thread, born);
    add_frames(page, born);
    if (!block->live) {
      add_event(page, "freed", block->death.time, block->death.thread, died);
      add_frames(page, died);
    }
    if (block->guarded) add_chance(page, block->guard_chance);
  }
  if (report.context != nullptr) {
    add_line(page, "  registers:");
    const std::span all(context::kRegisters);
    for (size_t i = 0; i < all.size(); i += kRegistersALine)
      add_registers(page, report.context, all.subspan(i, std::min(kRegistersALine, all.size() - i)));
  }
  add_sampling(page);
  add_line(page, what_follows(report, then));
}

}  // namespace poireau::report
