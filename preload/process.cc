#include "preload/process.h"

#include <sys/auxv.h>

#include <atomic>
#include <span>

#include "config/options.h"
#include "preload/base/cpu.h"
#include "preload/base/random.h"
#include "preload/base/sys.h"
#include "preload/base/text.h"

namespace poireau::process {
namespace {

constexpr size_t kPage = 4096;

/// Nonzero in the process that wrote it: the kernel wipes its page in a fork child. nullptr: no such page.
constinit std::atomic<uint64_t>* alive = nullptr;

constinit RunId id{};
constinit uint64_t seed_base = 0;
constinit std::atomic<uint64_t> seeds{0}, generations{0};
constinit bool kernel_may_be_asked = false;

std::string_view executable() noexcept {
  static constinit char path[512];
  static constinit size_t length = 0;
  if (length == 0 && kernel_may_be_asked) length = sys::read_link("/proc/self/exe", path).size();
  return {path, length};
}

void draw_identity() noexcept {
  if (!kernel_may_be_asked || !sys::random(std::as_writable_bytes(std::span(&id, 1)))) {
    // The clock alone would do to tell runs apart; the addresses differ with every exec.
    id.low = scramble(id.low ^ cpu::ticks());
    id.high = scramble(id.high ^ id.low ^ reinterpret_cast<uintptr_t>(__builtin_frame_address(0)));
  }
  const uint64_t fixed = options.seed.load(std::memory_order_relaxed);
  seed_base = fixed == 0 ? scramble(id.high ^ scramble(id.low)) : scramble(fixed + generation());
  seeds.store(0, std::memory_order_relaxed);
}

}  // namespace

void begin(bool may_call) noexcept {
  kernel_may_be_asked = may_call;
  draw_identity();
  if (!may_call) return;
  void* page = sys::map(kPage);
  if (page == nullptr) return;
  if (!sys::wipe_on_fork(page, kPage)) {
    sys::unmap(page, kPage);
    return;
  }
  alive = static_cast<std::atomic<uint64_t>*>(page);
  alive->store(1, std::memory_order_release);
}

bool is_new_child() noexcept { return alive != nullptr && alive->load(std::memory_order_relaxed) == 0; }

void forked() noexcept {
  if (alive != nullptr) alive->store(1, std::memory_order_relaxed);
  generations.fetch_add(1, std::memory_order_relaxed);
  draw_identity();
}

RunId run_id() noexcept { return id; }
uint64_t generation() noexcept { return generations.load(std::memory_order_relaxed); }

uint64_t next_seed() noexcept {
  return scramble(seed_base + scramble(seeds.fetch_add(1, std::memory_order_relaxed) + 1));
}

std::string_view program() noexcept { return base_name(executable()); }

std::string_view called_as() noexcept {
  const auto name = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  return name == nullptr ? std::string_view() : base_name(name);
}

}  // namespace poireau::process
