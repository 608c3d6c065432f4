#include "preload/sink_lttng.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>

#include "config/options.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/descriptors.h"
#include "preload/lttng/provider.h"
#include "preload/module.h"
#include "preload/sandbox.h"
#include "preload/sink.h"
#include "preload/thread.h"
#include "preload/voice.h"

// LTTng is a library like any other to the program's malloc: it allocates, on threads of its own and in the first event
// of each of ours. What it asks for is not the program's, and must not lead to another event.

// libdl's; not there in static programs.
#pragma weak dlopen
#pragma weak dlsym
#pragma weak dlerror

namespace poireau::sink {
namespace {

/// In milliseconds, for a daemon that doesn't answer; without, LTTng waits 3 s in every process.
constexpr std::string_view kWaitForDaemon = "LTTNG_UST_REGISTER_TIMEOUT=500";

constinit std::atomic<const lttng::Provider*> provider{nullptr};
/// starting: LTTng is making its threads, and which ones they are isn't known yet.
enum class State : uint8_t { absent, starting, there };
constinit std::atomic<State> state{State::absent};
/// This is a fork child that LTTng knows nothing of: to it, all is the parent's.
constinit std::atomic<bool> orphaned{false};
/// The last process that LTTng was told of.
constinit std::atomic<int> known_process{0};

using Numbers = std::array<std::atomic<uint32_t>, 32>;  // of threads; 0: free
constinit Numbers listeners{}, writers{};

bool contains(const Numbers& numbers, uint32_t number) noexcept {
  return std::any_of(numbers.begin(), numbers.end(),
                     [=](const auto& each) { return each.load(std::memory_order_relaxed) == number; });
}
bool add(Numbers& numbers, uint32_t number) noexcept {
  return std::any_of(numbers.begin(), numbers.end(), [=](auto& each) {
    uint32_t free = 0;
    return each.load(std::memory_order_relaxed) == 0 &&
           each.compare_exchange_strong(free, number, std::memory_order_relaxed);
  });
}
void remove(Numbers& numbers, uint32_t number) noexcept {
  for (auto& each : numbers)
    if (each.load(std::memory_order_relaxed) == number) return each.store(0, std::memory_order_relaxed);
}
void clear(Numbers& numbers) noexcept {
  for (auto& each : numbers) each.store(0, std::memory_order_relaxed);
}

/// LTTng needs more of the kernel than any filter of the program's own expects.
bool may_ask() noexcept { return sandbox::state() <= sandbox::State::inherited; }

/// The number that the kernel gives the calling thread.
uint32_t kernels_number(uint32_t number) noexcept {
  if (number <= INT32_MAX || !may_ask()) return number;  // see thread.cc
  const int id = sys::thread_id();
  return id > 0 ? static_cast<uint32_t>(id) : number;
}

/// All threads there are, as far as they fit.
[[gnu::noinline]] std::span<uint32_t> list_threads(std::span<uint32_t> out) noexcept {
  size_t count = 0;
  const int folder = sys::open_directory(sys::kAnywhere, "/proc/self/task", sys::Links::follow);
  if (folder < 0) return {};
  alignas(dirent64) char piece[512];
  for (int64_t size; (size = sys::list(folder, piece)) > 0;)
    for (const char* at = piece; at < piece + size;) {
      const auto* const entry = reinterpret_cast<const dirent64*>(at);
      uint64_t number;
      if (read_number(entry->d_name, 10, UINT32_MAX, number) && count < out.size())
        out[count++] = static_cast<uint32_t>(number);
      at += entry->d_reclen;
    }
  sys::close(folder);
  return out.first(count);
}

/// Runs what makes LTTng's threads, and takes note of them.
template <typename Call>
[[gnu::noinline]] void making_threads(Call&& call) noexcept {
  uint32_t before_room[64], after_room[66];
  const std::span<uint32_t> before = list_threads(before_room);
  state.store(State::starting, std::memory_order_release);
  call();
  for (const uint32_t each : list_threads(after_room))
    if (std::find(before.begin(), before.end(), each) == before.end()) add(listeners, each);
  state.store(State::there, std::memory_order_release);
}

/// Puts a variable into the environment that isn't there, and takes it out again. Without setenv, which allocates, and
/// leaves the environment in another place.
class Variable {
 public:
  explicit Variable(std::string_view setting) noexcept {
    const std::string_view name(setting.data(), setting.find('=') + 1);
    size_t count = 0;
    for (; environ != nullptr && environ[count] != nullptr; ++count)
      if (std::string_view(environ[count]).starts_with(name)) return;
    auto** const more = static_cast<char**>(sys::map((count + 2) * sizeof(char*)));
    if (more == nullptr) return;
    more[0] = const_cast<char*>(setting.data());
    std::copy_n(environ, count, more + 1);
    before_ = environ;
    environ = during_ = more;
  }
  ~Variable() {
    if (during_ == nullptr) return;
    if (environ == during_) {
      environ = before_;  // ours stays: another thread may be reading it
      return;
    }
    // Somebody has set another one meanwhile, which makes a copy.
    char** end = environ;
    while (end != nullptr && *end != nullptr) ++end;
    if (end != nullptr) *std::remove(environ, end, during_[0]) = nullptr;
  }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  char **before_ = nullptr, **during_ = nullptr;
};

void complain(std::string_view why) noexcept {
  if (options.log.load(std::memory_order_relaxed) == LogLevel::off) return;
  voice::say((voice::line() << "no events to LTTng: " << why).view());
}

/// Beside our own file; where we have none, wherever the loader looks.
struct Path {
  char text[800] = {};

  explicit Path(std::string_view name) noexcept {
    const std::string_view ours = module_of(reinterpret_cast<const void*>(&begin_lttng)).path;
    const std::string_view folder(ours.data(), ours.rfind('/') + 1);
    if (folder.size() + name.size() >= sizeof text) return;
    std::memcpy(text, folder.data(), folder.size());
    std::memcpy(text + folder.size(), name.data(), name.size());
  }
};

// Around a fork. The forking thread writes nothing in between, as LTTng has locked itself.
constinit std::atomic<bool> announced{false};

void before_fork() noexcept {
  const lttng::Provider* const lttng = provider.load(std::memory_order_relaxed);
  const uint32_t self = thread_number();
  if (lttng == nullptr || orphaned.load(std::memory_order_relaxed) || !may_ask() || !add(writers, self)) return;
  lttng->before_fork();
  announced.store(true, std::memory_order_relaxed);
}

void after_fork_in_parent() noexcept {
  if (!announced.exchange(false, std::memory_order_relaxed)) return;
  provider.load(std::memory_order_relaxed)->after_fork_in_parent();
  remove(writers, thread_number());
}

void after_fork_in_child() noexcept {
  if (!announced.exchange(false, std::memory_order_relaxed)) return;
  clear(listeners);
  making_threads([] {
    clear(writers);
    provider.load(std::memory_order_relaxed)->after_fork_in_child();
  });
  known_process.store(sys::process_id(), std::memory_order_relaxed);
  orphaned.store(false, std::memory_order_release);
}

/// Whether somebody has preloaded what LTTng has for forks: it would wait for itself if it were told twice. The child
/// is an orphan then.
bool has_fork_of_its_own() noexcept {
  return base_name(module_of(dlsym(RTLD_DEFAULT, "fork")).path).starts_with("liblttng-ust-fork");
}

bool is_wanted(event::Type type) noexcept {
  const lttng::Provider* const lttng = provider.load(std::memory_order_acquire);
  return lttng != nullptr && lttng->listens(type) && !orphaned.load(std::memory_order_relaxed) && may_ask();
}

void pass_on(const event::Any& event) noexcept {
  const uint32_t self = thread_number();
  if (is_our_own_thread(self) || !add(writers, self)) return;
  const int error = errno;
  provider.load(std::memory_order_relaxed)->write(event);
  errno = error;
  remove(writers, self);
}

}  // namespace

void begin_lttng() noexcept {
  if (dlopen == nullptr || dlsym == nullptr) return complain("a static program can't load libraries");
  const int error = errno;
  const Path path("libpoireau-lttng.so");
  void* file = nullptr;
  making_threads([&] {
    const Variable wait(kWaitForDaemon);
    file = dlopen(path.text, RTLD_NOW | RTLD_LOCAL);
  });
  const auto* const found =
      file == nullptr ? nullptr : static_cast<const lttng::Provider*>(dlsym(file, "poireau_lttng_provider"));
  if (found == nullptr)
    complain(dlerror());
  else if (std::string_view(found->version) != POIREAU_VERSION)
    complain("libpoireau-lttng.so is of another version");
  else if (has_fork_of_its_own() || pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child) == 0) {
    known_process.store(sys::process_id(), std::memory_order_relaxed);
    lttng_descriptors.store(found->descriptors, std::memory_order_release);
    provider.store(found, std::memory_order_release);
  }
  errno = error;
}

void forked_lttng() noexcept {
  if (provider.load(std::memory_order_relaxed) == nullptr || !may_ask()) return;
  if (known_process.load(std::memory_order_relaxed) != sys::process_id())
    orphaned.store(true, std::memory_order_relaxed);
}

bool is_our_own_thread(uint32_t number) noexcept {
  const State now = state.load(std::memory_order_acquire);
  if (now == State::absent) [[likely]]
    return false;
  return now == State::starting || contains(writers, number) || contains(listeners, kernels_number(number));
}

constinit const Sink kLttng{"lttng", is_wanted, pass_on};

}  // namespace poireau::sink
