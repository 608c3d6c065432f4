#include "preload/audience.h"

#include <dlfcn.h>
#include <link.h>

#include <atomic>
#include <cstddef>

#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/build_id.h"
#include "preload/introduction.h"
#include "preload/process.h"
#include "preload/sandbox.h"
#include "preload/sink.h"
#include "preload/thread.h"
#include "preload/trace.h"

namespace poireau::journal {
namespace {

/// All-zero: nothing was told.
template <size_t kSize>
class Told {
 public:
  /// True the first time.
  [[nodiscard]] bool add(uint64_t key) noexcept {
    constexpr size_t kLongestSearch = 8;
    key |= uint64_t{1} << 63;
    for (size_t step = 0; step < kLongestSearch; ++step) {
      auto& place = keys_[(key + step) % kSize];
      uint64_t there = place.load(std::memory_order_relaxed);
      if (there == key) return false;
      if (there == 0 && place.compare_exchange_strong(there, key, std::memory_order_relaxed)) return true;
    }
    keys_[key % kSize].store(key, std::memory_order_relaxed);
    return true;
  }
  void forget() noexcept {
    for (auto& key : keys_)
      if (key.load(std::memory_order_relaxed) != 0) key.store(0, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> keys_[kSize];
};

struct Known {
  Told<1024> stacks;
  Told<512> modules, threads;
};
[[gnu::section(".lbss")]] constinit Known known[2]{};

Known& known_to(Audience audience) noexcept { return known[static_cast<size_t>(audience)]; }

void forget(Known& all) noexcept {
  all.stacks.forget();
  all.modules.forget();
  all.threads.forget();
}

using Tell = void (*)(const event::Any&) noexcept;
Tell teller_of(Audience audience) noexcept {
  if (audience == Audience::listeners) return sink::emit;
  return [](const event::Any& event) noexcept { static_cast<void>(trace::write(event)); };
}

/// The file that code is from, unless it was told.
void tell_module(Audience audience, uintptr_t pc) noexcept {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(found.dlfo_map_start);
  const auto map = reinterpret_cast<uintptr_t>(found.dlfo_link_map);
  if (!known_to(audience).modules.add(scramble(begin ^ scramble(map)))) return;
  event::Module event;
  event.base = found.dlfo_link_map->l_addr;
  event.begin = begin;
  event.size = reinterpret_cast<uintptr_t>(found.dlfo_map_end) - begin;
  event.path = found.dlfo_link_map->l_name;
  if (event.path.empty()) event.path = process::executable();
  event.build_id = build_id_of(found.dlfo_map_start, found.dlfo_map_end);
  teller_of(audience)(event);
}

}  // namespace

void prepare(Audience audience, uint32_t stack, std::span<const uintptr_t> frames, uint32_t thread) noexcept {
  Known& all = known_to(audience);
  if (stack == 0 || all.stacks.add(stack))
    for (const uintptr_t pc : frames) tell_module(audience, pc);
  if (thread != thread_number() || !all.threads.add(thread)) return;
  char room[16];
  event::Thread event;
  event.thread = thread;
  if (sandbox::state() == sandbox::State::open) event.name = sys::thread_name(room);
  teller_of(audience)(event);
}

void introduce_to(Audience audience) noexcept {
  forget(known_to(audience));
  static_cast<void>(introduce(teller_of(audience)));
}

void forget_modules() noexcept {
  for (Known& all : known) {
    all.modules.forget();
    all.stacks.forget();
  }
}

void forget_audiences() noexcept {
  for (Known& all : known) forget(all);
}

}  // namespace poireau::journal
