#pragma once
#include <cstdint>
#include <string_view>

#include "preload/event.h"

/// Ways out of the process besides the embedded trace (trace.h), which remembers what it could not write. These don't:
/// who listens gets each event once, or never. Any thread, any time; none of them keeps errno.
namespace poireau::sink {

struct Sink {
  std::string_view name;
  /// Whether anybody listens to events of this type now: if not, nothing needs to be known for them.
  bool (*listens)(event::Type type) noexcept;
  void (*write)(const event::Any& event) noexcept;
};
[[gnu::visibility("hidden")]] extern const Sink kUsdt, kLttng;

/// Makes what `sink` asks for ready. From the constructor, when the loader can be asked for more libraries.
void begin() noexcept;
[[nodiscard]] bool listens(event::Type type) noexcept;
void emit(const event::Any& event) noexcept;
/// Whether somebody listens who has not been told whose process this is. Once.
[[nodiscard]] bool has_new_listener() noexcept;
/// Whether the calling thread, which has that number, is at work for a sink: what it asks for is not the program's, and
/// must not lead to another event.
[[nodiscard]] bool is_our_own_thread(uint32_t number) noexcept;
/// In a fork child.
void forked() noexcept;

}  // namespace poireau::sink
