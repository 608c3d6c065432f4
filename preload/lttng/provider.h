#pragma once
#include "preload/descriptors.h"
#include "preload/event.h"

/// What libpoireau-lttng.so has for libpoireau.so, which loads it.
namespace poireau::lttng {

struct Provider {
  const char* version;  // both must be of one: the events' structs have no other
  const Descriptors* descriptors;

  /// Whether a session wants events of this type.
  bool (*listens)(event::Type type) noexcept;
  /// Any thread, in signal handlers too; but the first event of a thread allocates. No cancellation point.
  void (*write)(const event::Any& event) noexcept;

  // Around a fork, on the thread that forks. It writes nothing in between.
  void (*before_fork)() noexcept;
  void (*after_fork_in_parent)() noexcept;
  void (*after_fork_in_child)() noexcept;  // makes LTTng's threads anew
};

}  // namespace poireau::lttng

extern "C" [[gnu::visibility("default")]] const poireau::lttng::Provider poireau_lttng_provider;
