#include "preload/sampled_room.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>

#include "preload/base/cpu.h"
#include "preload/module.h"
#include "preload/real.h"
#include "preload/sampler.h"

namespace poireau::sampled::room {
namespace {

constexpr size_t kCopied = 2 << 20;         // to copy more just to see takes too long
constexpr size_t kMost = size_t{32} << 20;  // and so does it to have more
constexpr size_t kMostAlignment = 64 << 10;

enum class Program : uint8_t { silent, asks, is_answered, is_not };
constinit std::atomic<Program> program{Program::silent};

/// Whether one allocator has all that it takes.
bool one_family() noexcept {
  const link_map* const allocator = map_of(next.malloc);
  return map_of(next.malloc_usable_size) == allocator && map_of(next.realloc) == allocator &&
         map_of(next.free) == allocator && map_of(next.memalign) == allocator;
}

bool answered() noexcept {
  Program now = program.load(std::memory_order_relaxed);
  if (now == Program::asks) [[unlikely]] {
    now = one_family() ? Program::is_answered : Program::is_not;
    program.store(now, std::memory_order_relaxed);
  }
  return now == Program::is_answered;
}

/// A block like the one that the request would have got, seen and freed.
size_t try_out(const Request& request, size_t before) noexcept {
  const size_t size = std::max<size_t>(request.size, 1);
  void* twin = nullptr;
  if (request.alignment > alignof(max_align_t)) {
    twin = next.memalign(request.alignment, size);
  } else if (before != 0 && matters(before, size)) {
    twin = next.malloc(before);
    if (void* const resized = twin != nullptr ? next.realloc(twin, size) : nullptr; resized != nullptr) twin = resized;
  } else {
    twin = next.malloc(size);
  }
  if (twin == nullptr) return 0;
  const size_t usable = next.malloc_usable_size(twin);
  next.free(twin);
  return usable;
}

}  // namespace

void asked() noexcept {
  if (program.load(std::memory_order_relaxed) == Program::silent)
    program.store(Program::asks, std::memory_order_relaxed);
}

size_t of(const Request& request, size_t before) noexcept {
  if (request.size > kMost || request.alignment > kMostAlignment || !std::has_single_bit(request.alignment) ||
      !answered())
    return request.size;
  const int error = errno;
  // What the allocator asks for by our hooks is not the program's.
  const uint64_t gap = cpu::load_thread_word(gap_offset);
  cpu::store_thread_word(gap_offset, uint64_t{1} << 40);
  const size_t usable = try_out(request, before);
  cpu::store_thread_word(gap_offset, gap);
  errno = error;
  return std::max(usable, request.size);
}

bool matters(size_t before, size_t size) noexcept { return std::max(before, size) < kCopied && answered(); }

}  // namespace poireau::sampled::room
