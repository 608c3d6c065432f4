#include "preload/process.h"

#include <sys/auxv.h>

#include <atomic>
#include <span>

#include "config/options.h"
#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"
#include "preload/sandbox.h"

namespace poireau::process {
namespace {

constexpr size_t kPage = 4096;

constinit RunId id{}, parents{};
constinit uint64_t seed_base = 0;  // a child's is made of its parent's
constinit std::atomic<uint64_t> seeds{0}, generations{0}, forks{0};

bool may_ask() noexcept { return sandbox::state() == sandbox::State::open; }

/// `fixed`: what to begin with where the run is to be repeated.
void be_seeded(uint64_t fixed) noexcept {
  const bool repeated = options.seed.load(std::memory_order_relaxed) != 0;
  seed_base = scramble(repeated ? fixed : id.high ^ scramble(id.low));
  seeds.store(0, std::memory_order_relaxed);
}

/// Another identity made of the one there is, without the kernel's help: no two processes pass here at the same tick
/// with the same past and the same number of forks behind them.
void derive_identity() noexcept {
  id.high = scramble(id.high ^ cpu::ticks());
  id.low = scramble(id.low + id.high + forks.load(std::memory_order_relaxed));
}

}  // namespace

constinit std::atomic<uint64_t>* alive = nullptr;

void begin() noexcept {
  id.low ^= reinterpret_cast<uintptr_t>(__builtin_frame_address(0));  // differs with every exec
  if (!may_ask() || !sys::random(std::as_writable_bytes(std::span(&id, 1)))) derive_identity();
  be_seeded(options.seed.load(std::memory_order_relaxed));
  if (!may_ask()) return;
  void* page = sys::map(kPage);
  if (page == nullptr) return;
  if (!sys::wipe_on_fork(page, kPage)) {
    sys::unmap(page, kPage);
    return;
  }
  alive = static_cast<std::atomic<uint64_t>*>(page);
  alive->store(1, std::memory_order_release);
}

void about_to_fork() noexcept { forks.fetch_add(1, std::memory_order_relaxed); }

bool forked() noexcept {
  if (alive != nullptr && alive->exchange(1) != 0) return false;
  generations.fetch_add(1, std::memory_order_relaxed);
  parents = id;
  derive_identity();
  be_seeded(seed_base ^ scramble(forks.load(std::memory_order_relaxed)));  // siblings differ in these
  return true;
}

RunId run_id() noexcept { return id; }
RunId parent() noexcept { return parents; }
uint64_t generation() noexcept { return generations.load(std::memory_order_relaxed); }

uint64_t next_seed() noexcept {
  return scramble(seed_base + scramble(seeds.fetch_add(1, std::memory_order_relaxed) + 1));
}

std::string_view executable() noexcept {
  static constinit char path[512];
  static constinit size_t length = 0;
  if (length == 0 && may_ask()) length = sys::read_link("/proc/self/exe", path).size();
  return {path, length};
}

std::string_view program() noexcept { return base_name(executable()); }

std::string_view called_as() noexcept {
  const auto name = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  return name == nullptr ? std::string_view() : base_name(name);
}

}  // namespace poireau::process
