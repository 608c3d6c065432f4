#include "preload/control.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>
#include <utility>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/clock.h"
#include "preload/control_answer.h"
#include "preload/control_request.h"
#include "preload/control_socket.h"
#include "preload/control_verbs.h"
#include "preload/sandbox.h"
#include "preload/thread.h"
#include "preload/voice.h"

namespace poireau::control {
namespace {

constexpr size_t kConnections = 4;
constexpr unsigned kAcceptedATurn = 4;
constexpr uint64_t kPatience = 5;           // seconds for a line
constexpr unsigned kGlances = 64;           // then comes a closer look
constexpr uint8_t kGrace = 16;              // lines that who has gone may have answered, and who has ended get wrong
constexpr uint64_t kTurnsASecond = 20'000;  // so short: further lines wait for the next one
constexpr size_t kStackToServe = 3 << 10;
constexpr size_t kLineRoom = kMostLine + 1;

/// All-zero: nobody.
struct Connection {
  Socket socket;
  uint64_t deadline;  // in ticks; looked at when all that has come is read: the program may have been away for long
  size_t used;        // of the room for its lines
  uint8_t grace;      // what is left of it
  bool ended;         // it will send no more
  bool deaf;          // it has gone; what it has asked for is done all the same
  bool stuck;         // it doesn't read
};

constinit Connection connections[kConnections]{};
[[gnu::section(".lbss")]] constinit char lines[kConnections][kLineRoom]{};
[[gnu::section(".lbss")]] constinit char answer_room[1024]{};
constinit Connection* waiting = nullptr;  // for what takes longer

constinit std::atomic<int> owner{0};            // the process that this is; 0: it has no socket
constinit std::atomic<uint32_t> whose_turn{0};  // the thread's number
constinit std::atomic<bool> closed{false};
constinit std::atomic<unsigned> glances{0};  // since the last turn
constinit std::atomic<uint64_t> due{0};      // when, in ticks, there is something to do though nobody has sent anything
constinit uint64_t retry_at = 0;             // not before is a listener made
constinit bool said_why_none = false;

enum Count : uint8_t { kAccepted, kRefused, kRequests, kMalformed, kCutOff, kLost, kFailures, kCounts };
constinit std::atomic<uint64_t> tally[kCounts]{};
void count(Count what) noexcept { tally[what].fetch_add(1, std::memory_order_relaxed); }

bool may_ask() noexcept { return sandbox::state() <= sandbox::State::inherited; }
bool wanted() noexcept {
  return !closed.load(std::memory_order_relaxed) && options.control.load(std::memory_order_relaxed) != Control::off;
}
uint64_t seconds(uint64_t number) noexcept { return number * clock::ticks_per_second(); }

char* lines_of(const Connection& connection) noexcept { return lines[&connection - connections]; }

void hang_up(Connection& connection) noexcept {
  if (waiting == &connection) waiting = nullptr;
  connection.socket.close();
}

void hang_up_all() noexcept {
  for (Connection& each : connections) hang_up(each);
  stop_listening();
}

/// With all signals blocked: no handler comes in between, none leaves by siglongjmp, but one of abort's on an error
/// that was found. False: somebody else has it.
class [[nodiscard]] Turn {
 public:
  Turn() noexcept {
    if (!sys::block_every_signal(blocked_before_)) return;
    const uint32_t self = thread_number();
    uint32_t whose = 0;
    mine_ = whose_turn.compare_exchange_strong(whose, self, std::memory_order_acquire);
    if (!mine_ && whose == self && !within()) {
      mine_ = true;
      forget_work();
      if (waiting != nullptr) hang_up(*waiting);
    }
    if (!mine_) sys::set_blocked_signals(blocked_before_);
  }
  ~Turn() {
    if (!mine_) return;
    whose_turn.store(0, std::memory_order_release);
    sys::set_blocked_signals(blocked_before_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  explicit operator bool() const noexcept { return mine_; }

 private:
  /// Whether it comes out of a turn of its own, where all is blocked but what abort opens: otherwise that was left.
  [[nodiscard]] bool within() const noexcept {
    return (~blocked_before_ & ~(sys::signal_bit(SIGKILL) | sys::signal_bit(SIGSTOP) | sys::signal_bit(SIGABRT))) == 0;
  }
  uint64_t blocked_before_ = 0;
  bool mine_ = false;
};

bool send(void* to, std::string_view piece) noexcept {
  Connection& connection = *static_cast<Connection*>(to);
  if (connection.deaf || connection.stuck) return false;
  const int64_t sent = connection.socket.send(piece);
  if (sent == static_cast<int64_t>(piece.size())) return true;
  (sent == -EPIPE || sent == -ECONNRESET ? connection.deaf : connection.stuck) = true;
  return false;
}

/// The same room for everybody: an answer is finished in the turn that it was begun in.
Answer answer_to(Connection& connection) noexcept { return {answer_room, send, &connection}; }

void finish(Answer& answer, Connection& connection) noexcept {
  static_cast<void>(answer.finish());
  if (!connection.stuck) return;
  count(kCutOff);
  hang_up(connection);
}

/// Where its first line ends; kLineRoom: nowhere yet.
size_t end_of_line(const Connection& connection) noexcept {
  const char* const begin = lines_of(connection);
  const void* const end = std::memchr(begin, '\n', connection.used);
  return end == nullptr ? kLineRoom : static_cast<size_t>(static_cast<const char*>(end) - begin);
}
bool has_line(const Connection& connection) noexcept { return end_of_line(connection) != kLineRoom; }
/// Whether it is there, and waits for nothing.
bool is_idle(const Connection& connection) noexcept {
  return connection.socket.number() != 0 && &connection != waiting;
}

/// After an answer.
void await_next(Connection& connection, uint64_t deadline) noexcept {
  connection.deadline = deadline;
  if (connection.ended && !has_line(connection)) hang_up(connection);
}

void answer_line(Connection& connection, uint64_t now) noexcept {
  char* const line = lines_of(connection);
  const size_t size = end_of_line(connection);
  const Request request = parse({line, size});
  const bool wrong = !request.wrong.empty();
  if ((connection.deaf || (connection.ended && wrong)) && connection.grace-- == 0) return hang_up(connection);
  Answer answer = answer_to(connection);
  Done done = Done::now;
  count(kRequests);
  if (wrong) {
    count(kMalformed);
    answer.fail(request.wrong);
  } else {
    done = carry_out(request, answer);
  }
  connection.used -= size + 1;
  std::memmove(line, line + size + 1, connection.used);
  if (done == Done::later) {
    waiting = &connection;
    return;
  }
  finish(answer, connection);
  await_next(connection, wrong ? connection.deadline : now + seconds(kPatience));  // nonsense buys no time
}

/// False: it isn't there any more.
bool read(Connection& connection) noexcept {
  for (int tries = 0; tries < 2; ++tries) {  // the second tells whether there will be more
    const std::span<char> room = std::span(lines[&connection - connections]).subspan(connection.used);
    if (connection.ended || room.empty()) return true;
    const int64_t got = connection.socket.receive(room);
    if (got == -EBADF) return false;
    if (got > 0)
      connection.used += static_cast<size_t>(got);
    else if (got != -EAGAIN)
      connection.ended = true;
  }
  return true;
}

/// Reads what has come, and answers at least one line of it.
void attend(Connection& connection, uint64_t now) noexcept {
  if (!read(connection)) return hang_up(connection);
  if (has_line(connection)) {
    const uint64_t end = now + clock::ticks_per_second() / kTurnsASecond;
    do answer_line(connection, now);
    while (is_idle(connection) && wanted() && has_line(connection) && clock::ticks() < end);
    return;
  }
  const bool too_long = connection.used == kLineRoom;
  if (!too_long && !connection.ended && now < connection.deadline) return;
  if (too_long) {
    Answer answer = answer_to(connection);
    answer.fail("a line of more than 4096 bytes");
    static_cast<void>(answer.finish());
  }
  static_assert(kMostLine == 4096, "is what we say");
  if (!connection.ended) count(kCutOff);
  hang_up(connection);
}

void go_on_with_work(uint64_t now) noexcept {
  if (waiting != nullptr && !waiting->socket.is_there()) hang_up(*waiting);
  if (waiting == nullptr) {
    static_cast<void>(go_on(nullptr));
    return;
  }
  Connection& connection = *waiting;
  Answer answer = answer_to(connection);
  if (go_on(&answer) == Done::later) return;
  waiting = nullptr;
  finish(answer, connection);
  await_next(connection, now + seconds(kPatience));
}

void have_no_descriptor(uint64_t now, std::string_view why) noexcept {
  count(kFailures);
  retry_at = now + seconds(1);
  if (std::exchange(said_why_none, true) || options.log.load(std::memory_order_relaxed) == LogLevel::off) return;
  voice::say((voice::line() << "no control socket: " << why).view());
}

/// Lets one in. False: there is nobody, or no room.
bool welcome_one(uint64_t now) noexcept {
  Connection* const free =
      std::find_if(connections, std::end(connections), [](Connection& each) { return each.socket.number() == 0; });
  if (free == std::end(connections)) return false;
  const Visitor visitor = let_in(free->socket);
  if (visitor == Visitor::late) have_no_descriptor(now, sys::error_text(EMFILE));
  if (visitor == Visitor::late || visitor == Visitor::none) return false;
  count(kAccepted);
  if (visitor == Visitor::stranger) count(kRefused);
  if (visitor != Visitor::welcome) return true;
  free->used = 0;
  free->grace = kGrace;
  free->ended = free->deaf = free->stuck = false;
  free->deadline = now + seconds(kPatience);
  Answer greeting = answer_to(*free);
  greet(greeting);
  finish(greeting, *free);
  if (free->socket.number() != 0) attend(*free, now);
  return true;
}

/// False: this thread is a user of its own.
bool see_that_we_can_be_reached(uint64_t now) noexcept {
  const int process = owner.load(std::memory_order_relaxed);
  uint32_t user;
  if (!sys::sole_user_id(user)) return true;
  const Listening listening = is_listening(process, user);
  if (listening == Listening::yes) return true;
  if (listening == Listening::others) return false;
  if (listening == Listening::lost) {
    count(kLost);
    stop_listening();
  } else {
    hang_up_all();  // there is none, or another user's
  }
  if (now < retry_at) return true;
  if (const std::string_view why = listen(process, user); !why.empty()) have_no_descriptor(now, why);
  return true;
}

uint64_t next_due() noexcept {
  if (!wanted()) return UINT64_MAX;
  if (is_at_work()) return 0;
  uint64_t next = listener() == 0 ? retry_at : UINT64_MAX;
  for (const Connection& each : connections)
    if (each.socket.number() != 0) next = std::min(next, each.ended || has_line(each) ? 0 : each.deadline);
  return next;
}

void take_turn(uint64_t now, bool knocked) noexcept {
  if (wanted() && !see_that_we_can_be_reached(now)) return;
  glances.store(0, std::memory_order_relaxed);
  for (Connection& each : connections)
    if (wanted() && is_idle(each)) attend(each, now);
  if (wanted() && is_at_work()) go_on_with_work(now);
  for (unsigned n = 0; knocked && wanted() && n < kAcceptedATurn; ++n) knocked = welcome_one(now);
  if (!wanted()) hang_up_all();
  due.store(next_due(), std::memory_order_relaxed);
}

/// Without a turn: whether there is anything to do. `knocked`: somebody wants to be let in.
bool look(uint64_t now, bool& knocked) noexcept {
  sys::Polled which[1 + kConnections];
  size_t used = 1;
  for (const Connection& each : connections)
    if (const int number = each.socket.number(); number != 0) which[used++] = {number, sys::Polled::kReadable, 0};
  const int number = listener();
  const int16_t wanted_of_it = used <= kConnections ? sys::Polled::kReadable : 0;
  which[0] = {number == 0 ? -1 : number, wanted_of_it, 0};
  const bool some = sys::poll({which, used}) > 0;
  knocked = (which[0].got & sys::Polled::kReadable) != 0;
  const unsigned glance = glances.load(std::memory_order_relaxed);
  glances.store(glance + 1, std::memory_order_relaxed);
  return some || now >= due.load(std::memory_order_relaxed) || glance >= kGlances - 1;
}

/// Whether what has our numbers may be ours.
bool has_our_descriptors() noexcept {
  const int process = sys::process_id();
  return process == owner.load(std::memory_order_relaxed) && sys::shares_descriptors(process);
}

}  // namespace

Counts counts() noexcept {
  const auto of = [](Count what) { return tally[what].load(std::memory_order_relaxed); };
  return {of(kAccepted), of(kRefused), of(kRequests), of(kMalformed), of(kCutOff), of(kLost), of(kFailures)};
}

void begin() noexcept {
  // A filter that came with us may kill for a socket: who asked for one here and now knows better.
  const config::OptionInfo* const option = config::find("control");
  const bool asked_for = option != nullptr && config::origin(*option) == "environment";
  if (may_ask() && (sandbox::state() == sandbox::State::open || asked_for))
    owner.store(sys::process_id(), std::memory_order_relaxed);
}

void serve() noexcept {
  if (owner.load(std::memory_order_relaxed) <= 0 || !may_ask() || (!wanted() && listener() == 0)) return;
  const uint64_t now = clock::ticks();
  bool knocked;
  if (!look(now, knocked) || !has_our_descriptors() || !room_on_stack(kStackToServe)) return;
  if (const Turn turn; turn) take_turn(now, knocked);
}

void forked() noexcept {
  if (owner.load(std::memory_order_relaxed) <= 0) return;
  const bool in_turn = whose_turn.exchange(0, std::memory_order_relaxed) != 0;
  owner.store(may_ask() ? sys::process_id() : 0, std::memory_order_relaxed);
  if (may_ask()) close_strays(in_turn);
  if (may_ask()) hang_up_all();
  for (auto& each : tally) each.store(0, std::memory_order_relaxed);
  waiting = nullptr;
  forget_work();
  due.store(0, std::memory_order_relaxed);
  retry_at = 0;
}

void prepare_for_sandbox() noexcept {
  if (owner.load(std::memory_order_relaxed) <= 0 || !may_ask() || !has_our_descriptors()) return;
  constexpr int kMostTries = 1000;
  for (int n = 0; n < kMostTries; ++n) {
    if (const Turn turn; turn) {
      hang_up_all();
      // Should the filter not come after all.
      retry_at = clock::ticks() + seconds(1);
      due.store(retry_at, std::memory_order_relaxed);
      return;
    }
    sys::yield();
  }
}

void close_for_good() noexcept { closed.store(true, std::memory_order_relaxed); }

}  // namespace poireau::control
