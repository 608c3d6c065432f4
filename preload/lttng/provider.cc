#include "preload/lttng/provider.h"

#include <fcntl.h>
#include <lttng/ust-fork.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "preload/lttng/tracepoints.h"
#include "preload/module.h"
#include "preload/symbols.h"

namespace poireau::lttng {
namespace {

constexpr size_t kMostText = 4096;  // of an event, all its texts together

size_t length_of(std::string_view text) noexcept { return std::min(text.find('\0'), text.size()); }

/// What an event's texts take, ended.
struct Measure {
  size_t size = 0;

  template <typename Value>
  void operator()(const char*, const Value&) noexcept {}
  void operator()(const char*, std::string_view text) noexcept { size += length_of(text) + 1; }
};

class Texts {
 public:
  explicit Texts(std::span<char> room) noexcept : room_(room) {}
  /// What has no room is cut.
  const char* ended(std::string_view text) noexcept {
    if (room_.empty()) return "";
    const size_t size = std::min(length_of(text), room_.size() - 1);
    char* const begin = room_.data();
    if (size != 0) std::memcpy(begin, text.data(), size);
    begin[size] = '\0';
    room_ = room_.subspan(size + 1);
    return begin;
  }

 private:
  std::span<char> room_;
};

template <typename Item>
uint16_t length_of(std::span<const Item> items) noexcept {
  return static_cast<uint16_t>(std::min<size_t>(items.size(), UINT16_MAX));
}

#define FILL_u8(name) row.name = event.name;
#define FILL_u16 FILL_u8
#define FILL_u32 FILL_u8
#define FILL_u64 FILL_u8
#define FILL_hex(name) row.name = event.name.value;
#define FILL_text(name) row.name = texts.ended(event.name);
#define FILL_bytes(name)        \
  row.name = event.name.data(); \
  row.name##_length = length_of(event.name);
#define FILL_frames FILL_bytes
#define FIELD(kind, name, help) FILL_##kind(name)
#define EVENT(name, Name, help, ...)                                    \
  [[gnu::noinline]] void write_one(const event::Name& event) noexcept { \
    Measure measure;                                                    \
    for_each_field(event, measure);                                     \
    const size_t size = std::min(measure.size, kMostText);              \
    Texts texts({static_cast<char*>(__builtin_alloca(size)), size});    \
    poireau_##name row;                                                 \
    __VA_ARGS__                                                         \
    lttng_ust_tracepoint(poireau, name, &row);                          \
  }
#include "preload/event.def"
#undef EVENT
#undef FIELD

bool listens(event::Type type) noexcept {
  switch (type) {
#define FIELD(kind, name, help)
#define EVENT(name, Name, help, ...) \
  case event::Type::name:            \
    return lttng_ust_tracepoint_enabled(poireau, name);
#include "preload/event.def"
#undef EVENT
#undef FIELD
    case event::Type::count:
      break;
  }
  return false;
}

void write(const event::Any& event) noexcept {
  // LTTng wakes the session's reader with calls that are cancellation points, which malloc is not.
  int before;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
  event.visit([](const auto& it) noexcept { write_one(it); });
  pthread_setcancelstate(before, nullptr);
}

constinit sigset_t signals{};  // of the thread that forks; libc lets one at a time

void before_fork() noexcept { lttng_ust_before_fork(&signals); }
void after_fork_in_parent() noexcept { lttng_ust_after_fork_parent(&signals); }
void after_fork_in_child() noexcept { lttng_ust_after_fork_child(&signals); }

constinit Descriptors descriptors;

}  // namespace
}  // namespace poireau::lttng

constexpr poireau::lttng::Provider poireau_lttng_provider{
    POIREAU_VERSION,
    &poireau::lttng::descriptors,
    poireau::lttng::listens,
    poireau::lttng::write,
    poireau::lttng::before_fork,
    poireau::lttng::after_fork_in_parent,
    poireau::lttng::after_fork_in_child,
};

// LTTng keeps a list of its own descriptors, to hide them from programs that link with liblttng-ust-fd. It fills the
// list through these functions of liblttng-ust-common, before which ours come, being in the library that was asked for.
// So we know its descriptors too, and move them to numbers that programs don't ask for.

using namespace poireau;

namespace {

/// LTTng's own. Not dlsym: that waits for the loader, which may be waiting for the thread that calls us.
template <typename Function>
Function* next(const char* name, Function* ours) noexcept {
  const link_map* const file = module_of(reinterpret_cast<const void*>(ours)).map;
  return file == nullptr ? nullptr : reinterpret_cast<Function*>(symbols::find(name, following(file)));
}

/// The same file under a number that programs don't come to by counting up; -1: there is none.
int duplicate_high(int number) noexcept {
  // LTTng takes no numbers from there on; the limit may have been raised since.
  static const long limit = sysconf(_SC_OPEN_MAX);
  const long end = limit < 0 ? Descriptors::kEnd : std::min<long>(limit, Descriptors::kEnd);
  for (int lowest = 1000; lowest > 2; lowest /= 2) {
    const int high = fcntl(number, F_DUPFD_CLOEXEC, lowest);
    if (high >= 0 && high < end) return high;
    if (high >= 0) close(high);
  }
  return -1;
}

}  // namespace

extern "C" {

[[gnu::visibility("default")]] int lttng_ust_add_fd_to_tracker(int number);
[[gnu::visibility("default")]] void lttng_ust_delete_fd_from_tracker(int number);

/// Returns the number that it has from now on, or what is below 0: then nothing has changed.
int lttng_ust_add_fd_to_tracker(int number) {
  const auto add = next("lttng_ust_add_fd_to_tracker", lttng_ust_add_fd_to_tracker);
  if (add == nullptr) return number;
  const int high = duplicate_high(number);
  const int kept = add(high >= 0 ? high : number);
  if (high >= 0) close(kept >= 0 ? number : high);
  lttng::descriptors.add(kept);
  return kept;
}

void lttng_ust_delete_fd_from_tracker(int number) {
  lttng::descriptors.remove(number);
  if (const auto remove = next("lttng_ust_delete_fd_from_tracker", lttng_ust_delete_fd_from_tracker); remove != nullptr)
    remove(number);
}

}  // extern "C"
