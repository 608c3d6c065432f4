#pragma once

namespace poireau::sink {

/// Loads LTTng; says so if it can't. It brings two threads, and waits for a session daemon that is there: see
/// kWaitForDaemon. Once, from the constructor.
void begin_lttng() noexcept;
/// In a fork child.
void forked_lttng() noexcept;

}  // namespace poireau::sink
