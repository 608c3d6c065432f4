#include "preload/trace.h"

#include <algorithm>
#include <atomic>

#include "config/options.h"
#include "preload/base/cpu.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/ctf.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/thread.h"
#include "preload/trace_files.h"
#include "preload/trace_place.h"
#include "preload/trace_stream.h"
#include "preload/voice.h"

#ifndef POIREAU_VERSION
#error "the build defines POIREAU_VERSION"
#endif

namespace poireau::trace {
namespace {

constexpr uint32_t kMostPackets = 64, kFactsPackets = 16;
constexpr unsigned kFilesAtMost = 16;              // of samples, when trace_limit is reached
constexpr uint64_t kPatience = uint64_t{1} << 25;  // ticks, about 10 ms
constexpr unsigned kSpins = 200;
constexpr size_t kStackToOpen = 6 << 10;
constexpr uint64_t kTypicalEvent = 256;

/// Whose turn it is: above, how many turns there were; below, the thread's number, or 0.
constinit std::atomic<uint64_t> turn{0};
constinit std::atomic<uint64_t> endless{0};      // a turn that somebody waited for in vain
constinit std::atomic<uintptr_t> writing_at{0};  // on whose stack there

enum class Phase : uint8_t { untouched, open };
constinit std::atomic<Phase> phase{Phase::untouched};
constinit std::atomic<bool> said_why_none{false};
constinit uint64_t retry_at = 0, retry_gap = 0;  // in ticks: it may have been a lack of descriptors

constinit Place place{};
constinit Stream facts{}, samples{};
constinit uint32_t files_before = 0;  // of the processes that this one was forked from
constinit uint64_t last_time = 0;
constinit uint64_t full_said_at = 0;
constinit Trouble last_trouble = Trouble::none;
constinit std::atomic<uint64_t> no_room{0}, on_disk{0}, early{0}, lost_packets{0};

/// A few files of one packet each are the least.
uint64_t limit() noexcept { return std::max<uint64_t>(options.trace_limit.load(std::memory_order_relaxed), 512 << 10); }

/// Of a file of samples that is to come, at most.
uint32_t packets() noexcept {
  return static_cast<uint32_t>(std::clamp<uint64_t>(limit() / kFilesAtMost / ctf::kPacket, 1, kMostPackets));
}

void say(std::string_view what, std::string_view why) noexcept {
  if (options.log.load(std::memory_order_relaxed) == LogLevel::off) return;
  voice::say((voice::line() << what << why).view());
}

bool of_facts(event::Type type) noexcept {
  using enum event::Type;
  return type == process || type == module || type == thread || type == option || type == error;
}

bool write_metadata(const Identity& identity) noexcept {
  auto* const scratch = static_cast<char*>(sys::map(ctf::kMetadataRoom));
  if (scratch == nullptr) return false;
  char host[65];
  const size_t size = ctf::metadata({scratch, ctf::kMetadataRoom}, {.uuid = std::span<const uint8_t, 16>(identity.uuid),
                                                                    .clock_offset = clock::realtime_offset(),
                                                                    .process = identity.process,
                                                                    .program = process::program(),
                                                                    .host = sys::host_name(host),
                                                                    .version = POIREAU_VERSION});
  const bool done = size != 0 && write_whole(place, "metadata", {scratch, size}) == 0;
  sys::unmap(scratch, ctf::kMetadataRoom);
  return done;
}

bool open_streams() noexcept {
  Identity identity{};
  const process::RunId id = process::run_id();
  __builtin_memcpy(identity.uuid, &id, sizeof identity.uuid);
  identity.process = static_cast<uint32_t>(sys::process_id());
  return write_metadata(identity) && facts.open(place, identity, "facts", {kFactsPackets, false}) &&
         samples.open(place, identity, "samples", {packets(), true});
}

/// Nobody knows in what state the streams are: another directory of this process takes what follows.
void begin_anew() noexcept {
  files_before += samples.file() + 1;
  facts = Stream();
  samples = Stream();
  phase.store(Phase::untouched, std::memory_order_relaxed);
}

void open_now() noexcept {
  char room[300];
  std::string_view why = "no space, or no right to write there";
  const bool done = make_place(place, why, room) && open_streams();
  // In a container it would be said by every process.
  const bool usual = sandbox::state() != sandbox::State::open;
  const bool wants_to_know = !usual || options.log.load(std::memory_order_relaxed) >= LogLevel::info;
  if (!done && wants_to_know && !said_why_none.exchange(true)) say("no trace: ", why);
  if (!done) {
    unmake_place(place);
    retry_gap = std::clamp(2 * retry_gap, clock::ticks_per_second() / 8, clock::ticks_per_second());
    retry_at = clock::ticks() + retry_gap;
  }
  phase.store(done ? Phase::open : Phase::untouched, std::memory_order_release);
}

void complain(Trouble trouble) noexcept {
  constexpr uint64_t kMinute = 60;
  if (trouble == Trouble::none) return;
  const uint64_t now = clock::ticks(), minute = kMinute * clock::ticks_per_second();
  if (trouble == last_trouble && (trouble != Trouble::full || now - full_said_at < minute)) return;
  last_trouble = trouble;
  full_said_at = now;
  say("trace: ", trouble == Trouble::full   ? "no space left, events are dropped until there is"
                 : trouble == Trouble::gone ? "its directory is out of reach, only the latest events are kept"
                                            : "in a sandbox, only the latest events are kept");
}

}  // namespace

Turn::Turn() noexcept : undisturbed_(sandbox::state() == sandbox::State::open) {
  if (process::is_new_child()) return;  // what is mapped is the parent's
  const uint32_t me = thread_number();
  const auto here = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  uint64_t now = turn.load(std::memory_order_relaxed);
  uint64_t since = 0;
  for (unsigned waits = 0;; ++waits) {
    const auto holder = static_cast<uint32_t>(now);
    if (holder == 0) {
      const uint64_t mine = ((now >> 32) + 1) << 32 | me;
      if (turn.compare_exchange_weak(now, mine, std::memory_order_acquire, std::memory_order_relaxed)) {
        mine_ = mine;
        writing_at.store(here, std::memory_order_relaxed);
        return;
      }
      continue;
    }
    if (holder == me) {
      // A handler beneath which we are writing; or one that has left for good (siglongjmp), and we with it.
      if (here <= writing_at.load(std::memory_order_relaxed) || sys::on_signal_stack()) return;
      begin_anew();
      turn.store(now >> 32 << 32, std::memory_order_relaxed);
      now = turn.load(std::memory_order_relaxed);
      continue;
    }
    if (now == endless.load(std::memory_order_relaxed)) return;
    if (waits < kSpins) {
      cpu::pause();
    } else {
      if (since == 0) since = clock::ticks();
      if (clock::ticks() - since > kPatience || sandbox::state() == sandbox::State::strict) {
        endless.store(now, std::memory_order_relaxed);
        return;
      }
      if (sandbox::state() == sandbox::State::open) sys::yield();
    }
    if (const uint64_t next = turn.load(std::memory_order_relaxed); next != now) {
      now = next;
      waits = 0;
      since = 0;
    }
  }
}

Turn::~Turn() {
  if (mine_ != 0) turn.store(mine_ >> 32 << 32, std::memory_order_release);
}

Opened open() noexcept {
  const bool fresh = phase.load(std::memory_order_relaxed) == Phase::untouched;
  if (fresh) [[unlikely]] {
    if (clock::ticks() < retry_at || !room_on_stack(kStackToOpen)) return Opened::none;
    open_now();
  }
  if (phase.load(std::memory_order_relaxed) != Phase::open) return Opened::none;
  return fresh ? Opened::fresh : Opened::ready;
}

uint32_t write(const event::Any& event) noexcept {
  Stream& stream = of_facts(event.type()) ? facts : samples;
  const size_t size = ctf::size_of(event);
  const bool too_many_facts = &stream == &facts && facts.bytes() > std::max<uint64_t>(limit() / 8, 2 * ctf::kPacket);
  char* const room = too_many_facts ? nullptr : stream.reserve(size);
  if (room == nullptr) {
    no_room.fetch_add(1, std::memory_order_relaxed);
    complain(stream.trouble());
    return 0;
  }
  last_time = std::max(last_time, clock::nanoseconds(clock::ticks()));
  ctf::encode(room, event, last_time);
  samples.limit_packets(packets());
  stream.commit(size);
  // The rounds that save what lives there come too late; what they save is missing until then.
  if (facts.bytes() + samples.bytes() > limit() && samples.oldest() != samples.file() && samples.remove_oldest())
    early.fetch_add(1, std::memory_order_relaxed);
  on_disk.store(facts.bytes() + samples.bytes(), std::memory_order_relaxed);
  if (samples.overwritten() != lost_packets.load(std::memory_order_relaxed)) [[unlikely]] {
    lost_packets.store(samples.overwritten(), std::memory_order_relaxed);
    // In a sandbox, which the program has made itself, it is no trouble; the trace tells it.
    if (samples.trouble() == Trouble::gone) complain(Trouble::gone);
  }
  return current();
}

void be_hopeful() noexcept {
  samples.be_hopeful();
  facts.be_hopeful();
}

uint32_t leaving() noexcept {
  const uint64_t file = uint64_t{packets()} * ctf::kPacket, most = limit();
  const uint64_t room_to_copy = 3 * file;  // two events are copied for each that comes, and the next file is growing
  const bool fits = facts.bytes() + samples.bytes() + room_to_copy <= most;
  if ((fits && samples.trouble() != Trouble::sandbox) || samples.oldest() == samples.file()) return 0;
  return files_before + samples.oldest();
}

void left() noexcept { static_cast<void>(samples.remove_oldest()); }

bool flush() noexcept {
  const int directory = open_place(place);
  if (directory >= 0) sys::close(directory);
  bool done = directory >= 0;
  for (Stream* stream : {&facts, &samples}) {
    stream->flush();
    done &= stream->trouble() == Trouble::none || (place.mappable && stream->trouble() == Trouble::full);
  }
  return done;
}

uint32_t first() noexcept { return files_before + 1; }
uint32_t oldest() noexcept { return files_before + samples.oldest(); }
uint32_t current() noexcept { return files_before + samples.file(); }
uint32_t events_a_file() noexcept { return static_cast<uint32_t>(packets() * (ctf::kPacket / kTypicalEvent)); }

bool asked_for() noexcept {
  const SinkKind kind = options.sink.load(std::memory_order_relaxed);
  return kind == SinkKind::ctf || kind == SinkKind::both;
}
bool wanted() noexcept { return asked_for() && options.record.load(std::memory_order_relaxed); }
uint64_t bytes() noexcept { return on_disk.load(std::memory_order_relaxed); }
std::string_view directory() noexcept {
  return phase.load(std::memory_order_acquire) == Phase::open ? place.path.data() : std::string_view();
}
uint64_t dropped() noexcept { return no_room.load(std::memory_order_relaxed); }
uint64_t overwritten() noexcept { return lost_packets.load(std::memory_order_relaxed); }
uint64_t removed_early() noexcept { return early.load(std::memory_order_relaxed); }

bool maps(uintptr_t address) noexcept { return facts.maps(address) || samples.maps(address); }

void prepare_for_sandbox() noexcept {
  const Turn mine;
  if (!mine || phase.load(std::memory_order_relaxed) != Phase::open) return;
  samples.prepare_for_sandbox();
  facts.prepare_for_sandbox();
}

void forked() noexcept {
  turn.store(0, std::memory_order_relaxed);
  files_before += samples.file();
  retry_at = retry_gap = 0;
  facts.forget();
  samples.forget();
  forked_place();
  for (auto* counter : {&no_room, &early, &lost_packets}) counter->store(0, std::memory_order_relaxed);
  on_disk.store(0, std::memory_order_relaxed);
  last_trouble = Trouble::none;
  phase.store(Phase::untouched, std::memory_order_relaxed);
}

void finish() noexcept {
  const Turn mine;
  if (!mine || phase.load(std::memory_order_relaxed) != Phase::open) return;
  for (Stream* stream : {&facts, &samples}) {
    stream->flush();
    stream->trim();
  }
}

}  // namespace poireau::trace
