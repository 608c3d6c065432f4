#include "preload/sink.h"

#include <atomic>
#include <cstddef>

#include "config/options.h"
#include "preload/sink_lttng.h"

namespace poireau::sink {
namespace {

constexpr const Sink* kSinks[] = {&kUsdt, &kLttng};
constexpr size_t kCount = sizeof kSinks / sizeof *kSinks;
constinit std::atomic<bool> introduced[kCount]{};  // somebody listened to `process` when last asked

}  // namespace

void begin() noexcept {
  const SinkKind kind = options.sink.load(std::memory_order_relaxed);
  if (kind == SinkKind::lttng || kind == SinkKind::both) begin_lttng();
}

bool listens(event::Type type) noexcept {
  for (const Sink* sink : kSinks)
    if (sink->listens(type)) return true;
  return false;
}

void emit(const event::Any& event) noexcept {
  for (const Sink* sink : kSinks)
    if (sink->listens(event.type())) sink->write(event);
}

bool has_new_listener() noexcept {
  bool found = false;
  for (size_t i = 0; i < kCount; ++i) {
    const bool listens = kSinks[i]->listens(event::Type::process);
    if (introduced[i].load(std::memory_order_relaxed) == listens) continue;
    found |= introduced[i].exchange(listens, std::memory_order_relaxed) != listens && listens;
  }
  return found;
}

void forked() noexcept {
  for (auto& each : introduced) each.store(false, std::memory_order_relaxed);
  forked_lttng();
}

}  // namespace poireau::sink
