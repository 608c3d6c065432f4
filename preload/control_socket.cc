#include "preload/control_socket.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/clock.h"
#include "preload/process.h"
#include "preload/trace_names.h"

namespace poireau::control {
namespace {

constexpr int kWaiting = 8;
constexpr uint32_t kNobody = 65534;  // also everybody whom our user namespace doesn't know
constexpr uint32_t kNoUser = UINT32_MAX;

constinit Socket the_listener{};
constinit std::array<char, sys::kMostSocketName> name_room{};
constinit size_t name_size = 0;
constinit uint32_t its_user = kNoUser;
constinit int its_process = 0;
constinit uint64_t its_start = 0;
constinit uint64_t changed_at = 0;  // in ticks: when a socket last came or went

void put(std::string_view text) noexcept {
  std::copy(text.begin(), text.end(), name_room.data() + name_size);
  name_size += text.size();
}
void put(uint64_t number) noexcept {
  put("/");
  name_size = static_cast<size_t>(write_number(name_room.data() + name_size, number) - name_room.data());
}

void make_name(int process, uint32_t user) noexcept {
  trace::Maker self{};
  const bool known = trace::know_ourselves(self) && self.start != 0;
  if (!known) self.start = process == its_process ? its_start : 0;  // it changed its root
  its_process = process;
  its_start = self.start;
  name_size = 0;
  put("poireau");
  put(user);
  put(static_cast<uint64_t>(process));
  put(self.start);
}

/// What the run id begins with: for who finds his name taken.
void make_name_longer() noexcept {
  put("/");
  for (int shift = 60; shift > 28; shift -= 4)
    put(std::string_view("0123456789abcdef").substr(process::run_id().high >> shift & 15, 1));
}

std::string_view words_of(int error) noexcept {
  switch (error) {
    case EADDRINUSE:
      return "somebody else has its name";
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EPERM:
    case EACCES:
      return sys::error_text(error);
    default:
      return "the kernel gives none";
  }
}

}  // namespace

bool Socket::is_there() const noexcept {
  uint64_t cookie;
  const int mine = number();
  return mine != 0 && sys::socket_cookie(mine, cookie) && cookie == cookie_;
}

bool Socket::take(int low) noexcept {
  int high = -1;
  for (const int lowest : {1000, 500, 250, 100})
    if (high < 0) high = sys::duplicate(low, lowest);
  sys::close(low);
  if (high < 0) return false;
  if (!sys::socket_cookie(high, cookie_)) {
    sys::close(high);
    return false;
  }
  number_.store(high, std::memory_order_relaxed);
  changed_at = clock::ticks();
  return true;
}

void Socket::close() noexcept {
  if (number() == 0) return;
  if (is_there()) sys::close(number());
  changed_at = clock::ticks();
  number_.store(0, std::memory_order_relaxed);
}

int64_t Socket::receive(std::span<char> out) const noexcept {
  return is_there() ? sys::receive(number(), out) : -EBADF;
}
int64_t Socket::send(std::string_view bytes) const noexcept { return is_there() ? sys::send(number(), bytes) : -EBADF; }

std::string_view name() noexcept {
  return listener() == 0 ? std::string_view() : std::string_view(name_room.data(), name_size);
}

int listener() noexcept { return the_listener.number(); }

Listening is_listening(int process, uint32_t user) noexcept {
  using enum Listening;
  if (user != its_user) {
    // Root may do what the others' agreement is asked by, and the process has been somebody else already.
    const bool kept_rights = user == 0 && its_user != kNoUser;
    return sys::thread_id() == process || (!kept_rights && sys::shares_user(process)) ? no : others;
  }
  if (listener() == 0) return no;
  return the_listener.is_there() ? yes : lost;
}

std::string_view listen(int process, uint32_t user) noexcept {
  const auto bind = [] { return sys::listen_as({name_room.data(), name_size}, kWaiting); };
  make_name(process, user);
  its_user = user;
  int low = bind();
  if (low == -EADDRINUSE) {
    make_name_longer();
    low = bind();
  }
  if (low < 0) return words_of(-low);
  return the_listener.take(low) ? std::string_view() : words_of(EMFILE);
}

void stop_listening() noexcept { the_listener.close(); }

void close_strays(bool in_turn) noexcept {
  if (!in_turn && clock::ticks() - changed_at > clock::ticks_per_second()) return;
  constexpr int kMostNumbers = 2048;
  std::array<char, sys::kMostSocketName> room;
  for (int number = 0; name_size != 0 && number < kMostNumbers; ++number)
    if (sys::socket_name(number, room) == std::string_view(name_room.data(), name_size)) sys::close(number);
}

Visitor let_in(Socket& to) noexcept {
  using enum Visitor;
  const int low = the_listener.is_there() ? sys::accept(listener()) : -EAGAIN;
  if (low < 0) return low == -EAGAIN ? none : late;
  std::array<char, sys::kMostSocketName> room;
  uint32_t user;
  if (sys::socket_name(low, room) != name() || !sys::peer_user(low, user) || user == kNobody ||
      (user != its_user && user != 0)) {
    sys::close(low);
    return stranger;
  }
  return to.take(low) ? welcome : late;
}

}  // namespace poireau::control
